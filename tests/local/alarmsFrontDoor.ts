import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CloudWatchClient } from "@aws-sdk/client-cloudwatch";
import { SNSClient } from "@aws-sdk/client-sns";
import { awsCredentials, awsRegion } from "../../local/paths";
import { Alarms } from "../../local/region/alarms";
import { Mail } from "../../local/region/mail";
import { type FrontDoor, startFrontDoor } from "./frontDoor";

/** A mail that was sent. */
export interface SentMail {
  to: string;
  subject: string;
  text: string;
}

/** A front door to a moto behind which alarms are watched and mails are sent. */
export interface AlarmsFrontDoor extends FrontDoor {
  alarms: Alarms;
  /** All mails since the last call, oldest first. */
  mails: () => SentMail[];
}

/** Opens a front door to a moto on a free loopback port. */
export async function startAlarmsFrontDoor(motoUrl: string): Promise<AlarmsFrontDoor> {
  const folder = mkdtempSync(join(tmpdir(), "mail-"));
  const client = { region: awsRegion, endpoint: motoUrl, credentials: awsCredentials };
  const parts: { mail?: Mail; alarms?: Alarms } = {};
  const frontDoor = await startFrontDoor(motoUrl, (request, askMoto) => {
    const part = { sns: parts.mail, monitoring: parts.alarms }[request.service];
    return part === undefined ? askMoto() : part.answer(request, askMoto);
  });
  const clients = [
    new SNSClient(client),
    new CloudWatchClient(client),
    new SNSClient({ ...client, endpoint: frontDoor.url }),
  ] as const;
  const alarms = new Alarms(clients[1], clients[2]);
  parts.mail = new Mail(clients[0], folder, frontDoor.url);
  parts.alarms = alarms;
  return {
    ...frontDoor,
    alarms,
    mails: () =>
      readdirSync(folder)
        .sort()
        .map((name) => {
          const content = readFileSync(join(folder, name), "utf8");
          rmSync(join(folder, name));
          return mailOf(content);
        }),
    stop: (): void => {
      clients.forEach((each) => {
        each.destroy();
      });
      frontDoor.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

function mailOf(content: string): SentMail {
  const end = content.indexOf("\n\n");
  const header = (name: string): string =>
    new RegExp(`^${name}: (.*)$`, "m").exec(content.slice(0, end))?.[1] ?? "";
  return { to: header("To"), subject: header("Subject"), text: content.slice(end + 2) };
}
