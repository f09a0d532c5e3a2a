import { randomBytes } from "node:crypto";
import {
  CreateSnapshotCommand,
  DeleteSnapshotCommand,
  DescribeVolumesCommand,
  type EC2Client,
  paginateDescribeSnapshots,
  type Tag,
  type Volume,
} from "@aws-sdk/client-ec2";
import { GetRoleCommand, type IAMClient } from "@aws-sdk/client-iam";
import { z } from "zod";
import { awsRegion } from "../paths";
import type { AwsAnswer, AwsRequest } from "./awsApi";
import { log, messageOf } from "./commands";
import { isDue, type MadeSnapshot, problemOf, surplus } from "./lifecycleSchedule";

// The service's limits, as far as it is known here: https://docs.aws.amazon.com/dlm/latest/APIReference/API_PolicyDetails.html
const tags = z.array(
  z.strictObject({ Key: z.string().regex(/^(?!aws:)[^\\=]{1,127}$/), Value: z.string().max(255) }),
);
const policyTags = z.record(z.string().regex(/^(?!aws:)[a-zA-Z+-=._:/]{1,128}$/), z.string());
const schedule = z.strictObject({
  Name: z.string().regex(/^[0-9A-Za-z _-]{1,120}$/),
  CopyTags: z.boolean().default(false),
  TagsToAdd: tags.max(45).default([]),
  CreateRule: z.strictObject({
    Location: z.literal("CLOUD").default("CLOUD"),
    CronExpression: z.string().optional(),
    Interval: z.literal([1, 2, 3, 4, 6, 8, 12, 24]).optional(),
    IntervalUnit: z.literal("HOURS").optional(),
    Times: z
      .array(z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/))
      .max(1)
      .optional(),
  }),
  RetainRule: z.strictObject({ Count: z.int().min(1).max(1000) }),
});
const changeable = z.strictObject({
  Description: z.string().regex(/^[0-9A-Za-z _-]{1,500}$/),
  ExecutionRoleArn: z.string().regex(/^arn:aws:iam::\d+:role\/./),
  State: z.literal(["ENABLED", "DISABLED"]),
  PolicyDetails: z.strictObject({
    PolicyType: z.literal("EBS_SNAPSHOT_MANAGEMENT").default("EBS_SNAPSHOT_MANAGEMENT"),
    PolicyLanguage: z.literal("STANDARD").default("STANDARD"),
    ResourceTypes: z.tuple([z.literal("VOLUME")]),
    ResourceLocations: z.tuple([z.literal("CLOUD")]).default(["CLOUD"]),
    TargetTags: tags.min(1).max(50),
    Schedules: z.array(schedule).min(1).max(4),
  }),
});
const created = changeable.extend({ Tags: policyTags.default({}) });

type Schedule = z.infer<typeof schedule>;

interface Policy extends z.infer<typeof created> {
  PolicyId: string;
  PolicyArn: string;
  DateCreated: Date;
  DateModified: Date;
  /** The moment up to which its schedules have been looked at. */
  seen: Date;
}

type ErrorName = "InvalidRequestException" | "ResourceNotFoundException";

/** An error in the service's words. */
class ServiceError extends Error {
  constructor(
    readonly errorName: ErrorName,
    message: string,
  ) {
    super(message);
  }
}

/**
 * Amazon Data Lifecycle Manager, which moto does not have: it makes snapshots of volumes at the times of
 * schedules and keeps some of them. Its policies go with the region, as all that moto knows does.
 */
export class LifecycleManager {
  private readonly policies = new Map<string, Policy>();

  /** @param ec2 asks the region's own front door, where snapshots get their data */
  constructor(
    private readonly ec2: EC2Client,
    private readonly iam: IAMClient,
  ) {}

  /** Answers a request of the service `dlm`. */
  async answer({ method, path, body }: AwsRequest): Promise<AwsAnswer> {
    try {
      const url = new URL(path, "http://dlm");
      const asked = body.length === 0 ? {} : (JSON.parse(body.toString()) as unknown);
      return json(200, await this.operate(method, url, asked));
    } catch (error) {
      if (!(error instanceof ServiceError)) {
        throw error;
      }
      const { errorName, message } = error;
      const status = errorName === "ResourceNotFoundException" ? 404 : 400;
      return json(status, { Message: message }, { "x-amzn-errortype": errorName });
    }
  }

  /** Makes the snapshots that are due, and deletes those that are one too many. */
  async run(now: Date): Promise<void> {
    for (const policy of this.policies.values()) {
      const due = policy.PolicyDetails.Schedules.filter(({ CreateRule }) =>
        isDue(CreateRule, policy.seen, now),
      );
      policy.seen = now;
      if (policy.State === "ENABLED" && due.length > 0) {
        await this.makeSnapshots(policy, due);
      }
    }
  }

  private async operate(method: string, url: URL, asked: unknown): Promise<unknown> {
    const [, collection, ...rest] = url.pathname.split("/");
    const name = decodeURIComponent(rest.join("/"));
    switch (`${method} ${collection ?? ""}${name && "/…"}`) {
      case "POST policies":
        return { PolicyId: await this.create(asked) };
      case "GET policies":
        return { Policies: this.find(url.searchParams).map(summary) };
      case "GET policies/…":
        return { Policy: description(this.policy(name)) };
      case "PATCH policies/…":
        await this.update(this.policy(name), asked);
        return {};
      case "DELETE policies/…":
        this.policies.delete(this.policy(name).PolicyId);
        return {};
      case "GET tags/…":
        return { Tags: this.policyOf(name).Tags };
      case "POST tags/…": {
        const { Tags } = read(z.strictObject({ Tags: policyTags }), asked);
        Object.assign(this.policyOf(name).Tags, Tags);
        return {};
      }
      case "DELETE tags/…":
        url.searchParams
          .getAll("tagKeys")
          .forEach((key) => Reflect.deleteProperty(this.policyOf(name).Tags, key));
        return {};
      default:
        throw new ServiceError("InvalidRequestException", `There is no ${method} ${url.pathname}`);
    }
  }

  private policy(id: string): Policy {
    const policy = this.policies.get(id);
    if (policy === undefined) {
      throw new ServiceError("ResourceNotFoundException", `Policy ${id} does not exist`);
    }
    return policy;
  }

  private policyOf(arn: string): Policy {
    return this.policy(arn.split("/").at(-1) ?? "");
  }

  private async create(asked: unknown): Promise<string> {
    const now = new Date();
    const values = read(created, asked);
    await this.check(values, now);
    const PolicyId = `policy-0${randomBytes(8).toString("hex")}`;
    const account = values.ExecutionRoleArn.split(":")[4] ?? "";
    const PolicyArn = `arn:aws:dlm:${awsRegion}:${account}:policy/${PolicyId}`;
    const dates = { DateCreated: now, DateModified: now, seen: now };
    this.policies.set(PolicyId, { ...values, ...dates, PolicyId, PolicyArn });
    return PolicyId;
  }

  private async update(policy: Policy, asked: unknown): Promise<void> {
    const now = new Date();
    const values = read(changeable.partial(), asked);
    await this.check({ ...policy, ...values }, now);
    Object.assign(policy, values, { DateModified: now });
  }

  /** What no pattern tells. */
  private async check(values: z.infer<typeof changeable>, now: Date): Promise<void> {
    for (const { CreateRule } of values.PolicyDetails.Schedules) {
      const { CronExpression, Interval, IntervalUnit, Times } = CreateRule;
      if (CronExpression === undefined && Interval === undefined) {
        throw missing(["CronExpression", "Interval"]);
      }
      if (CronExpression !== undefined && (Interval ?? IntervalUnit ?? Times) !== undefined) {
        throw new ServiceError(
          "InvalidRequestException",
          "The following parameters are mutually exclusive: {CronExpression, Interval, IntervalUnit, Times}",
        );
      }
      if (Interval !== undefined) {
        CreateRule.IntervalUnit = "HOURS";
        // The service chooses where nobody does.
        CreateRule.Times ??= [now.toISOString().slice(11, 16)];
      }
      const problem = problemOf(CreateRule, now);
      if (problem !== undefined) {
        throw new ServiceError(
          "InvalidRequestException",
          `Invalid cron expression ${CronExpression ?? ""}: ${problem}`,
        );
      }
    }
    await this.checkRole(values.ExecutionRoleArn);
  }

  private async checkRole(arn: string): Promise<void> {
    const service = "dlm.amazonaws.com";
    const role = await this.iam
      .send(new GetRoleCommand({ RoleName: arn.split("/").at(-1) }))
      .catch(() => undefined);
    const trust = decodeURIComponent(role?.Role?.AssumeRolePolicyDocument ?? "");
    if (!trust.includes(`"${service}"`)) {
      throw new ServiceError(
        "InvalidRequestException",
        `The execution role ${arn} does not exist or can't be assumed by ${service}`,
      );
    }
  }

  private find(query: URLSearchParams): Policy[] {
    const ids = query.getAll("policyIds").map((id) => this.policy(id).PolicyId);
    const state = query.get("state");
    const types = query.getAll("resourceTypes");
    return [...this.policies.values()].filter(
      ({ PolicyId, State, PolicyDetails: { ResourceTypes, TargetTags, Schedules } }) =>
        (ids.length === 0 || ids.includes(PolicyId)) &&
        (state === null || state === State) &&
        types.every((type) => type === ResourceTypes[0]) &&
        hasAll(TargetTags, query.getAll("targetTags")) &&
        hasAll(Schedules.flatMap(toAdd), query.getAll("tagsToAdd")) &&
        !query.has("defaultPolicyType"),
    );
  }

  private async makeSnapshots(policy: Policy, due: Schedule[]): Promise<void> {
    const { TargetTags } = policy.PolicyDetails;
    const { Volumes = [] } = await this.ec2.send(new DescribeVolumesCommand({}));
    const targets = Volumes.filter(({ Tags = [] }) =>
      TargetTags.some(({ Key, Value }) =>
        Tags.some((tag) => tag.Key === Key && tag.Value === Value),
      ),
    );
    for (const volume of targets) {
      try {
        await this.makeSnapshot(policy, due, volume);
      } catch (error) {
        log(`${policy.PolicyId} made no snapshot of ${volume.VolumeId ?? ""}: ${messageOf(error)}`);
      }
    }
  }

  /** Schedules that are due at one time make one snapshot, which the one that keeps the most of them owns. */
  private async makeSnapshot(
    { PolicyId }: Policy,
    due: Schedule[],
    { VolumeId = "", Tags = [] }: Volume,
  ): Promise<void> {
    const owner = due.reduce((a, b) => (b.RetainRule.Count > a.RetainRule.Count ? b : a));
    const copied = due.some(({ CopyTags }) => CopyTags)
      ? Tags.filter(({ Key = "" }) => !Key.startsWith("aws:"))
      : [];
    const ofSchedule = {
      "aws:dlm:lifecycle-policy-id": PolicyId,
      "aws:dlm:lifecycle-schedule-name": owner.Name,
    };
    const added = due.flatMap(toAdd);
    const own = tagList({ ...ofSchedule, "dlm:managed": "true" });
    const byKey = new Map([...copied, ...added, ...own].map((tag: Tag) => [tag.Key, tag]));
    const { SnapshotId = "" } = await this.ec2.send(
      new CreateSnapshotCommand({
        VolumeId,
        Description: `Created for policy: ${PolicyId} schedule: ${owner.Name}`,
        TagSpecifications: [{ ResourceType: "snapshot", Tags: [...byKey.values()] }],
      }),
    );
    log(`${PolicyId} has made ${SnapshotId} of ${VolumeId}`);
    const made: MadeSnapshot[] = [];
    const Filters = [
      { Name: "volume-id", Values: [VolumeId] },
      ...tagList(ofSchedule).map(({ Key, Value }) => ({ Name: `tag:${Key}`, Values: [Value] })),
    ];
    for await (const page of paginateDescribeSnapshots({ client: this.ec2 }, { Filters })) {
      for (const { SnapshotId: id = "", StartTime: started = new Date(0) } of page.Snapshots ??
        []) {
        made.push({ id, volumeId: VolumeId, started });
      }
    }
    for (const id of surplus(made, owner.RetainRule.Count)) {
      await this.ec2.send(new DeleteSnapshotCommand({ SnapshotId: id }));
      log(`${PolicyId} has deleted ${id}`);
    }
  }
}

function toAdd({ TagsToAdd }: Schedule): Schedule["TagsToAdd"] {
  return TagsToAdd;
}

function tagList(values: Record<string, string>): { Key: string; Value: string }[] {
  return Object.entries(values).map(([Key, Value]) => ({ Key, Value }));
}

/** @param wanted each as `key=value` */
function hasAll(tags: Schedule["TagsToAdd"], wanted: string[]): boolean {
  return wanted.every((each) => tags.some(({ Key, Value }) => `${Key}=${Value}` === each));
}

function description(policy: Policy): Record<string, unknown> {
  return { ...policy, seen: undefined, StatusMessage: policy.State, DefaultPolicy: false };
}

function summary({ PolicyId, Description, State, Tags, PolicyDetails }: Policy): unknown {
  const { PolicyType } = PolicyDetails;
  return { PolicyId, Description, State, Tags, PolicyType, DefaultPolicy: false };
}

/** @throws ServiceError that names what is missing or wrong */
function read<Type>(type: z.ZodType<Type>, asked: unknown): Type {
  const { success, data, error } = type.safeParse(asked);
  if (success) {
    return data;
  }
  const absent = error.issues.filter(({ path }) => valueAt(asked, path) === undefined);
  if (absent.length > 0) {
    throw missing(absent.map(({ path }) => String(path.at(-1))));
  }
  const wrong = error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  throw new ServiceError(
    "InvalidRequestException",
    `${wrong.join("; ")}. The local region makes snapshots of volumes and keeps a number of them, no more.`,
  );
}

function valueAt(value: unknown, path: PropertyKey[]): unknown {
  return path.reduce(
    (inner, key) => (inner as Record<PropertyKey, unknown> | undefined)?.[key],
    value,
  );
}

function missing(names: string[]): ServiceError {
  const message = `The following required parameter(s) are missing: {${names.join(", ")}}`;
  return new ServiceError("InvalidRequestException", message);
}

function json(status: number, value: unknown, headers: AwsAnswer["headers"] = {}): AwsAnswer {
  return {
    status,
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(value),
  };
}
