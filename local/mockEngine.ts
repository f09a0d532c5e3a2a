import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import type { RegisterResourceRequest } from "@pulumi/pulumi/proto/resource_pb";
import type { MockCallArgs, MockResourceArgs, MockResourceResult } from "@pulumi/pulumi/runtime";
import type { MockMonitor } from "@pulumi/pulumi/runtime/mocks";
import { parse } from "yaml";
import { secretKeys } from "../components/config";

/** The project's folder. */
export const projectFolder = join(__dirname, "..");

/** One config key as Pulumi.yaml declares it. */
export interface ConfigDeclaration {
  type?: string;
  default?: unknown;
  description?: string;
  value?: unknown;
}

/** Pulumi.yaml, as far as it is read here. */
export interface Project {
  name: string;
  runtime: { options: { tsconfig: string } };
  config: Record<string, ConfigDeclaration>;
}

export function readProject(): Project {
  return parse(readFileSync(join(projectFolder, "Pulumi.yaml"), "utf8")) as Project;
}

/** The config section of Pulumi.yaml. */
export function declaredConfig(): Record<string, ConfigDeclaration> {
  return readProject().config;
}

/** Text of a config value, as the CLI hands it to the program. */
export function configText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Defaults of Pulumi.yaml under the values given: what the CLI does before it starts the program. */
export function withDefaults(values: Record<string, unknown>): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [key, { default: preset, value }] of Object.entries(declaredConfig())) {
    if (preset !== undefined || value !== undefined) {
      texts[qualified(key)] = configText(preset ?? value);
    }
  }
  for (const [key, value] of Object.entries(values)) {
    texts[qualified(key)] = configText(value);
  }
  return texts;
}

function qualified(key: string): string {
  return key.includes(":") ? key : `meteor-scale:${key}`;
}

/** A resource that the program registered, its inputs complete. */
export interface RegisteredResource {
  type: string;
  name: string;
  inputs: Record<string, unknown>;
  /** The inputs, and what the provider would compute. */
  outputs: Record<string, unknown>;
  options: RegisteredOptions;
}

/** How the engine is told to treat a resource. */
export interface RegisteredOptions {
  /** Names of the resources that must be there first. */
  dependsOn: string[];
  protect: boolean;
  /** Type and name of the resources that each input comes from, as in `aws:ec2/vpc:Vpc network-vpc`. */
  propertyDependencies: Record<string, string[]>;
  /** Inputs whose changes mean nothing. */
  ignoreChanges: string[];
}

export interface MockRun {
  resources: RegisteredResource[];
  outputs: Record<string, unknown>;
}

/** Runs the whole program without an engine, a provider or an account; strict in what it answers. */
export async function runProgram(stack: string, config: Record<string, string>): Promise<MockRun> {
  const resources: RegisteredResource[] = [];
  const options = new Map<string, RegisteredOptions>();
  pulumi.runtime.setAllConfig(config, secretKeys.map(qualified));
  completeMonitor(await mockMonitor(stack, resources, options), options);
  const program = await import("../index");
  const registered = await program.default();
  // Waits for what is still on its way.
  await pulumi.runtime.disconnect();
  const outputs = await new Promise<Record<string, unknown>>((resolve) => {
    pulumi.output(registered).apply(resolve);
  });
  return { resources, outputs };
}

/**
 * A monitor that answers as if every resource of the stack were there.
 *
 * @param resources gets what the program registers
 * @param options what is known of each resource's own, if it is to be told too
 */
export async function mockMonitor(
  stack: string,
  resources: RegisteredResource[],
  options = new Map<string, RegisteredOptions>(),
): Promise<MockMonitor> {
  await pulumi.runtime.setMocks(
    {
      newResource: (args) => newResource(args, resources, options),
      call: answer,
    },
    "meteor-scale",
    stack,
  );
  return pulumi.runtime.getMonitor() as unknown as MockMonitor;
}

/**
 * Mocks know no hooks, for what a hook does is tested by itself; and are not told of options, which
 * are written down here.
 */
function completeMonitor(monitor: MockMonitor, options: Map<string, RegisteredOptions>): void {
  const register = monitor.registerResource.bind(monitor) as (
    request: RegisterResourceRequest,
    callback: unknown,
  ) => Promise<void>;
  Object.assign(monitor, {
    registerResourceHook: (
      _request: unknown,
      callback: (error: null, response: object) => void,
    ): void => {
      callback(null, {});
    },
    registerResource: (request: RegisterResourceRequest, callback: unknown): Promise<void> => {
      options.set(`${request.getType()} ${request.getName()}`, {
        dependsOn: request.getDependenciesList().map((urn) => urn.slice(urn.lastIndexOf("::") + 2)),
        protect: request.getProtect() ?? false,
        propertyDependencies: Object.fromEntries(
          [...request.getPropertydependenciesMap().entries()].map(([key, dependencies]) => [
            key,
            dependencies.getUrnsList().map(typeAndName),
          ]),
        ),
        ignoreChanges: request.getIgnorechangesList(),
      });
      return register(request, callback);
    },
  });
}

/** Of a URN, whose type begins with those of its parents. */
function typeAndName(urn: string): string {
  const [, , types = "", name = ""] = urn.split("::");
  return `${types.slice(types.lastIndexOf("$") + 1)} ${name}`;
}

function newResource(
  args: MockResourceArgs,
  resources: RegisteredResource[],
  options: Map<string, RegisteredOptions>,
): MockResourceResult {
  const inputs = args.inputs as Record<string, unknown>;
  if (resources.some(({ type, name }) => type === args.type && name === args.name)) {
    throw new Error(`two resources of type ${args.type} are named ${args.name}`);
  }
  const plain = revealed(inputs);
  resources.push({
    type: args.type,
    name: args.name,
    inputs: plain,
    outputs: { ...plain, ...computed(args) },
    options: options.get(`${args.type} ${args.name}`) ?? {
      dependsOn: [],
      protect: false,
      propertyDependencies: {},
      ignoreChanges: [],
    },
  });
  return { id: `${args.name}-id`, state: { ...inputs, ...computed(args) } };
}

/** Secrets of the top level in clear, for tests that look for them. */
function revealed(inputs: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(inputs).map(([key, value]) => [
      key,
      pulumi.runtime.isRpcSecret(value)
        ? (pulumi.runtime.unwrapRpcSecret(value) as unknown)
        : value,
    ]),
  );
}

/** What the provider would compute, as far as the program uses it. */
function computed({ type, name }: MockResourceArgs): Record<string, unknown> {
  switch (type) {
    case "aws:ec2/instance:Instance":
      return { privateIp: "10.20.32.10", primaryNetworkInterfaceId: `eni-${name}` };
    case "aws:ebs/volume:Volume":
      return {};
    case "aws:ec2/eip:Eip":
      return { publicIp: "203.0.113.10" };
    case "aws:ssm/parameter:Parameter":
      return { version: 1, arn: `arn:aws:ssm:eu-central-1:123456789012:parameter/${name}` };
    case "aws:s3/bucket:Bucket":
      return { arn: `arn:aws:s3:::${name}`, bucket: name };
    case "aws:sns/topic:Topic":
      return { arn: `arn:aws:sns:eu-central-1:123456789012:${name}` };
    case "aws:iam/role:Role":
    case "aws:iam/instanceProfile:InstanceProfile":
      return { name };
    case "aws:route53/zone:Zone":
      return { zoneId: `${name}-id` };
    case "random:index/randomPassword:RandomPassword":
      return { result: `secret-of-${name}` };
    case "random:index/randomBytes:RandomBytes":
      return { base64: Buffer.from(`secret-of-${name}`).toString("base64") };
    case "tls:index/privateKey:PrivateKey":
      return { privateKeyPem: `secret-of-${name}`, publicKeyPem: `public-key-of-${name}` };
    case "tls:index/selfSignedCert:SelfSignedCert":
      return { certPem: `certificate-of-${name}` };
    default:
      return {};
  }
}

function answer({ token, inputs }: MockCallArgs): Record<string, unknown> {
  switch (token) {
    case "aws:ssm/getParametersByPath:getParametersByPath":
      return { names: [], values: [] };
    case "aws:ec2/getAmi:getAmi":
      return { id: "ami-0123456789abcdef0" };
    case "aws:ec2/getInstanceType:getInstanceType":
      return instanceTypeFacts(String((inputs as Record<string, unknown>)["instanceType"]));
    case "aws:route53/getZone:getZone":
      return hostedZoneFacts(inputs as Record<string, unknown>);
    default:
      throw new Error(`the program asked ${token}, which nobody expected`);
  }
}

/** An account with the public zone of example.com, as its domain is. */
function hostedZoneFacts({ name, privateZone }: Record<string, unknown>): Record<string, unknown> {
  if (name !== "example.com" || privateZone !== false) {
    const details = "no matching Route 53 Hosted Zone found";
    // Pulumi tells an error of a call by this field.
    throw Object.assign(new Error(details), { details });
  }
  return { zoneId: "Z-example-com", name };
}

/** As EC2 names types: a `g` after the generation is AWS's own processor, `medium` has one core. */
function instanceTypeFacts(name: string): Record<string, unknown> {
  const arm = /^[a-z]+\d+g/.test(name);
  const cores = name.endsWith(".medium") && !/^(t3|t4g)\./.test(name) ? 1 : 2;
  return {
    supportedArchitectures: [arm ? "arm64" : "x86_64"],
    memorySize: 2048,
    defaultVcpus: cores,
    defaultCores: cores,
    validCores: /^t/.test(name) ? [cores] : [1, cores],
  };
}
