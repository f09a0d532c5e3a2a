import * as pulumi from "@pulumi/pulumi";
import { createHash } from "node:crypto";
import {
  checkUserData,
  cloudConfig,
  type MachineContents,
  type Programs,
  programsScript,
} from "../userdata/cloudConfig";
import type { SecurityUpgrades } from "../userdata/machine/aptConfig";
import { type CommonMachineArgs, withCommon } from "../userdata/machine/commonMachine";
import * as aws from "./aws";
import type { PrivateBucket } from "./privateBucket";
import { logGroupOf } from "./monitoring";

/** A processor type as EC2 describes it, limited to one core where it has more. */
export interface InstanceType {
  name: string;
  architecture: "x86_64" | "arm64";
  /** Memory in mebibytes. */
  memory: number;
  /** Set where the type has more cores than the machine may use. */
  cpuOptions?: { coreCount: number; threadsPerCore: number };
}

/** What the machines of a stack have in common. */
export interface MachineDefaults {
  region: string;
  /** Start of the names that people see, such as `meteor-scale-dev`. */
  prefix: string;
  /** A Debian 12 image to stay on; by default the newest when a machine is first created. */
  amiId?: string;
  sessionManager: boolean;
  /** What machines fetch their programs from. */
  programs: PrivateBucket;
  /** Start of the log groups' names, such as `/meteor-scale/dev`. */
  logPath: string;
  securityUpgrades: SecurityUpgrades;
  /** Name of the SSM parameter that tells which machine may reboot. */
  rebootLock: string;
}

/** A permission of the machine's role. */
export interface Permission {
  actions: string[];
  resources: pulumi.Input<string>[];
}

export interface MachineArgs {
  defaults: MachineDefaults;
  role: CommonMachineArgs["role"];
  /** The name people use, such as `host1`; also the host name. */
  machine: string;
  instanceType: InstanceType;
  subnetId: pulumi.Input<string>;
  securityGroupIds: pulumi.Input<string>[];
  contents: pulumi.Input<MachineContents>;
  /** The same with stand-ins of full length for what is not known yet; its size is checked. */
  contentsForSize: MachineContents;
  /** SSM path of the machine's own secrets, without a slash at its end. */
  secretsPath?: string;
  /** What its role may do, beside reading its secrets and telling that it is ready. */
  permissions?: Permission[];
  /** False for a machine that passes on what others send. Default: true. */
  sourceDestCheck?: boolean;
  /** For a machine whose volume can't be attached twice. Default: false. */
  deleteBeforeReplace?: boolean;
  /** What must be there before the machine starts. */
  dependsOn: pulumi.Resource[];
}

/** Size of each machine's own disk, in GiB. */
export const rootDiskSize = 10;

/** A volume's id of full length, for `contentsForSize`. */
export const volumeIdForSize = "vol-0123456789abcdef0";

/** Debian's own account, which publishes its images: https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm */
const debianAccount = "136693071363";

const assumedByEc2 = JSON.stringify({
  Version: "2012-10-17",
  Statement: [
    { Effect: "Allow", Principal: { Service: "ec2.amazonaws.com" }, Action: "sts:AssumeRole" },
  ],
});

/**
 * One EC2 machine that installs itself from its user data and tells in its tag `ready` how that ended.
 *
 * Another text of user data, size, subnet or pinned image replaces it; a newer Debian image does not.
 * It moves to other hardware by itself where its own fails.
 *
 * Cost: the type's price, 0.80 USD a month for its disk and 0.10 USD for the alarm, beside what monitoring costs.
 */
export class Machine extends pulumi.ComponentResource {
  /** The name people use, such as `host1`. */
  readonly machine: string;
  readonly instance: aws.ec2.Instance;

  constructor(name: string, args: MachineArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:machine:Machine", name, {}, options);
    checkSize(args);
    this.machine = args.machine;
    const programs = this.uploadPrograms(name, args);
    const profile = this.createProfile(name, args, programs);
    this.instance = this.createInstance(name, args, profile, programs);
    this.createRecovery(name, args);
    this.registerOutputs({ instanceId: this.instance.id });
  }

  private uploadPrograms(name: string, args: MachineArgs): UploadedPrograms {
    // They vary with nothing that is not known yet.
    const content = programsScript(withCommon(args.contentsForSize, commonArgs(args)));
    const sha256 = createHash("sha256").update(content).digest("hex");
    const key = `${args.machine}/${sha256}.sh`;
    const { address, arn } = args.defaults.programs.upload(
      `${name}-programs`,
      key,
      { content },
      this,
    );
    return { address, arn, sha256 };
  }

  private createProfile(
    name: string,
    args: MachineArgs,
    programs: UploadedPrograms,
  ): aws.iam.InstanceProfile {
    const parent = { parent: this };
    const role = new aws.iam.Role(`${name}-role`, { assumeRolePolicy: assumedByEc2 }, parent);
    const policy = new aws.iam.RolePolicy(
      `${name}-policy`,
      { role: role.id, policy: rolePolicy(args, programs) },
      parent,
    );
    const waits: pulumi.Resource[] = [policy];
    if (args.defaults.sessionManager) {
      waits.push(
        new aws.iam.RolePolicyAttachment(
          `${name}-session-manager`,
          { role: role.name, policyArn: "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore" },
          parent,
        ),
      );
    }
    return new aws.iam.InstanceProfile(
      `${name}-profile`,
      { role: role.name },
      { parent: this, dependsOn: waits },
    );
  }

  private createInstance(
    name: string,
    args: MachineArgs,
    profile: aws.iam.InstanceProfile,
    programs: UploadedPrograms,
  ): aws.ec2.Instance {
    const { defaults } = args;
    const common = commonArgs(args);
    return new aws.ec2.Instance(
      `${name}-instance`,
      {
        ami: defaults.amiId ?? newestDebian(args.instanceType.architecture, this),
        instanceType: args.instanceType.name,
        cpuOptions: args.instanceType.cpuOptions,
        subnetId: args.subnetId,
        vpcSecurityGroupIds: args.securityGroupIds,
        iamInstanceProfile: profile.name,
        sourceDestCheck: args.sourceDestCheck,
        userData: pulumi.all([args.contents, programs.address]).apply(([contents, address]) =>
          cloudConfig(args.machine, withCommon(contents, common), {
            address,
            sha256: programs.sha256,
          }),
        ),
        userDataReplaceOnChange: true,
        metadataOptions: {
          httpEndpoint: "enabled",
          httpTokens: "required",
          httpPutResponseHopLimit: 1,
        },
        rootBlockDevice: {
          encrypted: true,
          volumeType: "gp3",
          volumeSize: rootDiskSize,
          // Not volumeTags: after a refresh those would be put on an attached data volume too.
          tags: { Name: displayName(args) },
        },
        tags: { Name: displayName(args), role: args.role },
      },
      {
        parent: this,
        dependsOn: args.dependsOn,
        deleteBeforeReplace: args.deleteBeforeReplace ?? false,
        // The provider would stop and start the machine instead, all of them at once.
        replaceOnChanges: ["instanceType"],
        ignoreChanges: [
          // Machines set this tag themselves. The provider's own ignoreTags would hide it from the gate too.
          "tags.ready",
          "tagsAll.ready",
          // The look-up finds a newer image every few weeks; machines move when the pin does.
          ...(defaults.amiId === undefined ? ["ami"] : []),
        ],
      },
    );
  }

  private createRecovery(name: string, args: MachineArgs): void {
    new aws.cloudwatch.MetricAlarm(
      `${name}-recovery`,
      {
        alarmDescription: `Moves ${args.machine} to other hardware when its own fails`,
        namespace: "AWS/EC2",
        metricName: "StatusCheckFailed_System",
        dimensions: { InstanceId: this.instance.id },
        statistic: "Maximum",
        period: 60,
        evaluationPeriods: 2,
        comparisonOperator: "GreaterThanThreshold",
        threshold: 0,
        alarmActions: [`arn:aws:automate:${args.defaults.region}:ec2:recover`],
      },
      { parent: this },
    );
  }
}

interface UploadedPrograms {
  address: pulumi.Output<string>;
  arn: pulumi.Output<string>;
  sha256: string;
}

/** As long as a machine's own can become. */
const programsForSize: Programs = { address: "s3://".padEnd(200, "x"), sha256: "0".repeat(64) };

function commonArgs(args: MachineArgs): CommonMachineArgs {
  return {
    role: args.role,
    region: args.defaults.region,
    secretsPath: args.secretsPath ?? "",
    metricNamespace: args.defaults.prefix,
    logGroup: logGroupOf(args.defaults.logPath, args.role),
    sessionManager: args.defaults.sessionManager,
    securityUpgrades: args.defaults.securityUpgrades,
    rebootLock: args.defaults.rebootLock,
  };
}

/** Before any of it exists: an error inside `apply` would come too late. */
function checkSize(args: MachineArgs): void {
  try {
    checkUserData(
      args.machine,
      cloudConfig(
        args.machine,
        withCommon(args.contentsForSize, commonArgs(args)),
        programsForSize,
      ),
    );
  } catch (error) {
    throw new pulumi.RunError(
      `${(error as Error).message}. For the balancer set a smaller maxHosts, for a host fewer variables in env.`,
    );
  }
}

function displayName(args: MachineArgs): string {
  return `${args.defaults.prefix}-${args.machine}`;
}

function newestDebian(
  architecture: InstanceType["architecture"],
  parent: pulumi.Resource,
): pulumi.Output<string> {
  const debian = architecture === "arm64" ? "arm64" : "amd64";
  return aws.ec2.getAmiOutput(
    {
      owners: [debianAccount],
      mostRecent: true,
      filters: [
        { name: "name", values: [`debian-12-${debian}-*`] },
        { name: "architecture", values: [architecture] },
      ],
    },
    { parent },
  ).id;
}

function rolePolicy(args: MachineArgs, programs: UploadedPrograms): pulumi.Output<string> {
  const { region, prefix, logPath, securityUpgrades, rebootLock } = args.defaults;
  const logGroup = `arn:aws:logs:${region}:*:log-group:${logGroupOf(logPath, args.role)}`;
  const own = args.secretsPath === undefined ? [] : [secretsPermission(region, args.secretsPath)];
  const fetch = { actions: ["s3:GetObject"], resources: [programs.arn] };
  const reboots =
    securityUpgrades === "reboot"
      ? [
          {
            actions: ["ssm:GetParameter", "ssm:PutParameter", "ssm:DeleteParameter"],
            resources: [`arn:aws:ssm:${region}:*:parameter${rebootLock}`],
          },
        ]
      : [];
  const all = [...own, fetch, ...reboots, ...(args.permissions ?? [])];
  return pulumi.output(all).apply((permissions) =>
    JSON.stringify({
      Version: "2012-10-17",
      Statement: [
        ...permissions.map(({ actions, resources }) => ({
          Effect: "Allow",
          Action: actions,
          Resource: resources,
        })),
        {
          Effect: "Allow",
          Action: ["cloudwatch:PutMetricData"],
          Resource: "*",
          Condition: { StringEquals: { "cloudwatch:namespace": prefix } },
        },
        { Effect: "Allow", Action: ["logs:DescribeLogGroups"], Resource: "*" },
        {
          Effect: "Allow",
          Action: ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
          Resource: [logGroup, `${logGroup}:*`],
        },
        {
          Effect: "Allow",
          Action: ["ec2:CreateTags"],
          Resource: [`arn:aws:ec2:${region}:*:instance/*`],
          Condition: {
            StringEquals: { "ec2:ResourceTag/Name": displayName(args) },
            "ForAllValues:StringEquals": { "aws:TagKeys": ["ready"] },
          },
        },
      ],
    }),
  );
}

/** To read the parameters below a path. */
export function secretsPermission(region: string, path: string): Permission {
  const parameter = `arn:aws:ssm:${region}:*:parameter${path}`;
  return {
    actions: ["ssm:GetParametersByPath", "ssm:GetParameter", "ssm:GetParameters"],
    resources: [parameter, `${parameter}/*`],
  };
}
