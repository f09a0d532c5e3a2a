import { request } from "node:https";
import { isIP } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { GetParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import { awsApiUrl, awsCredentials, awsRegion, stackName } from "./paths";

/** The certificate that the balancer serves, as the program put it in SSM. */
export async function stackCertificate(): Promise<string> {
  const client = new SSMClient({
    endpoint: awsApiUrl,
    region: awsRegion,
    credentials: awsCredentials,
  });
  const { Parameter } = await client.send(
    new GetParameterCommand({
      Name: `/meteor-scale/${stackName}/certificate/CERTIFICATE`,
      WithDecryption: true,
    }),
  );
  return Parameter?.Value ?? "";
}

/**
 * Fetches the application's page over HTTPS and trusts the stack's own certificate alone.
 *
 * @param address where to connect to
 * @param rootUrl the address that people would type, which the certificate is for
 * @returns the page's title, or nothing if it has none
 */
export async function fetchPage(
  address: string,
  rootUrl: string,
  certificate: string,
): Promise<string> {
  const host = new URL(rootUrl).hostname;
  const page = await new Promise<string>((resolve, reject) => {
    const options = {
      host: address,
      ca: certificate,
      servername: isIP(host) ? "" : host,
      headers: { host },
      // A connection that is kept may outlive the way that it was made on.
      agent: false,
      timeout: 10_000,
    };
    const asking = request(options, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("end", () => {
        if (response.statusCode === 200) {
          resolve(text);
        } else {
          reject(new Error(`it answers with status ${response.statusCode ?? "none"}`));
        }
      });
    });
    asking.on("timeout", () => {
      asking.destroy(new Error("it does not answer within 10 s"));
    });
    asking.on("error", reject).end();
  });
  return /<title>\s*(.*?)\s*<\/title>/s.exec(page)?.[1] ?? "";
}

/** The same, tried for half a minute: a balancer asks its hosts for some seconds before it trusts them. */
export async function waitForPage(
  address: string,
  rootUrl: string,
  signal: AbortSignal,
): Promise<string> {
  const certificate = await stackCertificate();
  for (let tries = 1; ; tries += 1) {
    try {
      return await fetchPage(address, rootUrl, certificate);
    } catch (error) {
      signal.throwIfAborted();
      if (tries === 30) {
        throw error;
      }
      await sleep(1000, undefined, { signal });
    }
  }
}
