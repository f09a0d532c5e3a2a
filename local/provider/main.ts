import { providerPorts, repositoryFolder } from "../paths";
import { awsProvider } from "./aws/provider";
import { serve } from "./protocol";
import { randomProvider } from "./random";
import { tlsProvider } from "./tls";

export interface ProviderPorts {
  aws: number;
  tls: number;
  random: number;
}

export interface ProviderOptions {
  /** Where relative paths of assets start. Default: the repository's folder. */
  directory?: string;
}

/**
 * Serves the stand-ins for the resource providers of @pulumi/aws, @pulumi/tls and @pulumi/random on
 * loopback ports (0: any), to which PULUMI_DEBUG_PROVIDERS attaches the engine.
 */
export async function startProviders(
  ports: ProviderPorts = providerPorts,
  options: ProviderOptions = {},
): Promise<{ ports: ProviderPorts; stop: () => Promise<void> }> {
  const [aws, tls, random] = await Promise.all([
    serve(awsProvider(options.directory ?? repositoryFolder), ports.aws),
    serve(tlsProvider, ports.tls),
    serve(randomProvider, ports.random),
  ]);
  return {
    ports: { aws: aws.port, tls: tls.port, random: random.port },
    stop: async (): Promise<void> => {
      await Promise.all([aws.stop(), tls.stop(), random.stop()]);
    },
  };
}

if (require.main === module) {
  void startProviders().then(({ ports }) => {
    const attach = Object.entries(ports).map(([name, port]) => `${name}:${port}`);
    console.log(`PULUMI_DEBUG_PROVIDERS=${attach.join(",")}`);
  });
}
