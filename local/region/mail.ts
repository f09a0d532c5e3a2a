import { randomBytes } from "node:crypto";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  GetTopicAttributesCommand,
  paginateListSubscriptionsByTopic,
  type SNSClient,
} from "@aws-sdk/client-sns";
import type { AskMoto, AwsAnswer, AwsRequest } from "./awsApi";
import { log, messageOf } from "./commands";

const namespace = "http://sns.amazonaws.com/doc/2010-03-31/";
/** SNS's own. */
const defaultSubject = "AWS Notification Message";

/** What is published on a topic. */
interface Notification {
  topicArn: string;
  subject: string | undefined;
  message: string;
  /** Whether the message is JSON with a text for each protocol. */
  structured: boolean;
}

/**
 * The part of SNS that moto does not have: mail. A subscription by email waits until somebody follows
 * the link in a first mail, and gets none before. Each mail is a file.
 */
export class Mail {
  /** Those by email, by ARN: the token that confirms it, and whether that has come. */
  private readonly subscriptions = new Map<string, { token: string; confirmed: boolean }>();
  private count = 0;

  /**
   * @param sns asks moto itself
   * @param folder where the mails are
   * @param url where the AWS API answers whoever reads them
   */
  constructor(
    private readonly sns: SNSClient,
    private readonly folder: string,
    private readonly url: string,
  ) {}

  /** Answers what SNS is asked. */
  async answer(request: AwsRequest, askMoto: AskMoto): Promise<AwsAnswer> {
    const { action, form } = request;
    switch (action) {
      case "Subscribe":
        return this.subscribe(form, await this.asked(form, askMoto));
      case "ConfirmSubscription":
        return this.confirm(form.get("Token") ?? "");
      case "Unsubscribe":
        return this.unsubscribe(form.get("SubscriptionArn") ?? "", askMoto);
      case "GetSubscriptionAttributes":
        return this.attributes(form.get("SubscriptionArn") ?? "", await askMoto());
      case "ListSubscriptions":
      case "ListSubscriptionsByTopic":
        return this.listed(await askMoto());
      default: {
        const answer = await askMoto();
        if (answer.status < 300) {
          for (const notification of notificationsOf(request)) {
            // It is published; who published it would do so again.
            await this.deliver(notification).catch((error: unknown) => {
              log(`${notification.topicArn} could not send mail: ${messageOf(error)}`);
            });
          }
        }
        return answer;
      }
    }
  }

  private async asked(form: URLSearchParams, askMoto: AskMoto): Promise<AwsAnswer> {
    return isMail(form.get("Protocol")) && !/^[^@\s]+@[^@\s]+$/.test(form.get("Endpoint") ?? "")
      ? invalidParameter("Endpoint Reason: Invalid email address")
      : askMoto();
  }

  private async subscribe(form: URLSearchParams, answer: AwsAnswer): Promise<AwsAnswer> {
    const arn = /<SubscriptionArn>(.+?)</.exec(String(answer.body))?.[1];
    if (answer.status >= 300 || arn === undefined || !isMail(form.get("Protocol"))) {
      return answer;
    }
    if (this.subscriptions.get(arn)?.confirmed === true) {
      return answer;
    }
    const token = randomBytes(32).toString("hex");
    this.subscriptions.set(arn, { token, confirmed: false });
    const topicArn = form.get("TopicArn") ?? "";
    const link = this.link({ Action: "ConfirmSubscription", TopicArn: topicArn, Token: token });
    this.write({
      from: await this.sender(topicArn),
      to: form.get("Endpoint") ?? "",
      subject: "AWS Notification - Subscription Confirmation",
      text: [
        "You have chosen to subscribe to the topic:",
        topicArn,
        "",
        "To confirm this subscription, click or visit the link below (If this was in error no action is necessary):",
        link,
        "",
      ].join("\n"),
    });
    return form.get("ReturnSubscriptionArn") === "true"
      ? answer
      : rewritten(answer, (body) => body.replaceAll(arn, "pending confirmation"));
  }

  private confirm(token: string): AwsAnswer {
    const found = [...this.subscriptions].find(([, each]) => each.token === token);
    if (found === undefined) {
      return invalidParameter("Token");
    }
    const [arn, subscription] = found;
    subscription.confirmed = true;
    log(`the subscription ${arn} is confirmed`);
    return xml(
      200,
      `<ConfirmSubscriptionResponse xmlns="${namespace}"><ConfirmSubscriptionResult>` +
        `<SubscriptionArn>${arn}</SubscriptionArn></ConfirmSubscriptionResult>` +
        "<ResponseMetadata><RequestId>local</RequestId></ResponseMetadata></ConfirmSubscriptionResponse>",
    );
  }

  private async unsubscribe(arn: string, askMoto: AskMoto): Promise<AwsAnswer> {
    if (this.isPending(arn)) {
      return invalidParameter(
        "SubscriptionArn Reason: Cannot unsubscribe a subscription that is pending confirmation",
      );
    }
    const answer = await askMoto();
    this.subscriptions.delete(arn);
    return answer;
  }

  private attributes(arn: string, answer: AwsAnswer): AwsAnswer {
    const values = {
      PendingConfirmation: String(this.isPending(arn)),
      // A link in a mail proves nobody's identity.
      ConfirmationWasAuthenticated: "false",
    };
    return this.subscriptions.has(arn)
      ? rewritten(answer, (body) =>
          Object.entries(values).reduce(
            (text, [name, value]) =>
              text.replace(
                new RegExp(`(<key>${name}</key>\\s*<value>)\\w*`),
                (_, before: string) => before + value,
              ),
            body,
          ),
        )
      : answer;
  }

  private listed(answer: AwsAnswer): AwsAnswer {
    return rewritten(answer, (body) =>
      body.replace(/(<SubscriptionArn>)(.+?)</g, (all, tag: string, arn: string) =>
        this.isPending(arn) ? `${tag}PendingConfirmation<` : all,
      ),
    );
  }

  private isPending(arn: string): boolean {
    return this.subscriptions.get(arn)?.confirmed === false;
  }

  private async deliver(notification: Notification): Promise<void> {
    const { topicArn, subject = defaultSubject } = notification;
    const pages = paginateListSubscriptionsByTopic({ client: this.sns }, { TopicArn: topicArn });
    for await (const { Subscriptions } of pages) {
      for (const { SubscriptionArn: arn = "", Endpoint: to = "", Protocol } of Subscriptions ??
        []) {
        if (this.subscriptions.get(arn)?.confirmed === true) {
          const text = textFor(Protocol ?? "", notification);
          const leave = this.link({ Action: "Unsubscribe", SubscriptionArn: arn });
          this.write({
            ...{ from: await this.sender(topicArn), to, subject },
            text:
              Protocol === "email-json"
                ? JSON.stringify({
                    Type: "Notification",
                    TopicArn: topicArn,
                    Subject: subject,
                    Message: text,
                  })
                : [
                    text,
                    "",
                    "--",
                    "If you wish to stop receiving notifications from this topic, please click or visit the link below to unsubscribe:",
                    leave,
                    "",
                  ].join("\n"),
          });
        }
      }
    }
  }

  private link(parameters: Record<string, string>): string {
    return `${this.url}/?${new URLSearchParams(parameters).toString()}`;
  }

  private async sender(topicArn: string): Promise<string> {
    const { Attributes } = await this.sns.send(
      new GetTopicAttributesCommand({ TopicArn: topicArn }),
    );
    const name = Attributes?.DisplayName || "AWS Notifications";
    return `${encoded(`"${name.replaceAll('"', "")}"`)} <no-reply@sns.amazonaws.com>`;
  }

  private write(mail: { from: string; to: string; subject: string; text: string }): void {
    this.count += 1;
    const date = new Date();
    const stamp = date.toISOString().replace(/[:.]/g, "-");
    const name = `${stamp}-${this.count}-${mail.to.replace(/[^\w.@+-]/g, "_")}.eml`;
    const file = join(this.folder, name);
    const headers = {
      From: mail.from,
      To: mail.to,
      Subject: encoded(mail.subject.replace(/\s+/g, " ")),
      Date: date.toUTCString().replace("GMT", "+0000"),
      "Message-ID": `<${stamp}-${this.count}@sns.amazonaws.com>`,
      "MIME-Version": "1.0",
      "Content-Type": "text/plain; charset=UTF-8",
      "Content-Transfer-Encoding": "8bit",
    };
    const lines = Object.entries(headers).map(([key, value]) => `${key}: ${value}`);
    mkdirSync(this.folder, { recursive: true });
    // Whoever waits for a mail never sees half of one.
    writeFileSync(`${file}.new`, `${lines.join("\n")}\n\n${mail.text}`);
    renameSync(`${file}.new`, file);
    log(`mail to ${mail.to}: ${mail.subject} (${file})`);
  }
}

function isMail(protocol: string | null): boolean {
  return protocol === "email" || protocol === "email-json";
}

/** What a request publishes. */
function notificationsOf({ action, form }: AwsRequest): Notification[] {
  const topicArn = form.get("TopicArn") ?? form.get("TargetArn");
  if (topicArn === null || (action !== "Publish" && action !== "PublishBatch")) {
    return [];
  }
  const prefixes =
    action === "Publish"
      ? [""]
      : [...form.keys()].flatMap(
          (key) => /^(PublishBatchRequestEntries\.member\.\d+\.)Message$/.exec(key)?.[1] ?? [],
        );
  return prefixes.map((prefix) => ({
    topicArn,
    subject: form.get(`${prefix}Subject`) ?? undefined,
    message: form.get(`${prefix}Message`) ?? "",
    structured: form.get(`${prefix}MessageStructure`) === "json",
  }));
}

function textFor(protocol: string, { message, structured }: Notification): string {
  if (!structured) {
    return message;
  }
  const texts = JSON.parse(message) as Record<string, string>;
  return texts[protocol] ?? texts["default"] ?? "";
}

/** A header's value; https://www.rfc-editor.org/rfc/rfc2047 where it is more than ASCII. */
function encoded(value: string): string {
  return /^[\x20-\x7e]*$/.test(value)
    ? value
    : `=?UTF-8?B?${Buffer.from(value).toString("base64")}?=`;
}

function rewritten(answer: AwsAnswer, change: (body: string) => string): AwsAnswer {
  const body = change(String(answer.body));
  const headers = { ...answer.headers, "content-length": String(Buffer.byteLength(body)) };
  return { ...answer, headers, body };
}

function xml(status: number, body: string): AwsAnswer {
  return { status, headers: { "content-type": "text/xml" }, body };
}

function invalidParameter(reason: string): AwsAnswer {
  return xml(
    400,
    `<ErrorResponse xmlns="${namespace}"><Error><Type>Sender</Type><Code>InvalidParameter</Code>` +
      `<Message>Invalid parameter: ${reason}</Message></Error><RequestId>local</RequestId></ErrorResponse>`,
  );
}
