import type { Values } from "../../local/provider/values";

/** A change of one property. */
interface Change {
  property: string;
  old?: unknown;
  now?: unknown;
  /** Other inputs, the same before and after. */
  beside?: Values;
}

const of = (...properties: (string | Change)[]): Change[] =>
  properties.map((property) => (typeof property === "string" ? { property } : property));

/** Details of a lifecycle policy. */
function daily(changed: Values): Values {
  const createRule = { cronExpression: "cron(0 3 * * ? *)" };
  return { schedules: [{ name: "daily", createRule, retainRule: { count: 7 }, ...changed }] };
}

/**
 * What the real provider does when a property changes, as the Terraform AWS provider 5.100 plans it.
 */
export const replacementTable: Record<string, { replaces: Change[]; inPlace: Change[] }> = {
  "aws:ec2/vpc:Vpc": {
    replaces: of("cidrBlock", "instanceTenancy"),
    inPlace: of("enableDnsHostnames", "enableDnsSupport"),
  },
  "aws:ec2/subnet:Subnet": {
    replaces: of("cidrBlock", "availabilityZone", "vpcId"),
    inPlace: of("mapPublicIpOnLaunch"),
  },
  "aws:ec2/internetGateway:InternetGateway": { replaces: [], inPlace: of("vpcId") },
  "aws:ec2/routeTable:RouteTable": { replaces: of("vpcId"), inPlace: [] },
  "aws:ec2/route:Route": {
    replaces: of("destinationCidrBlock", "routeTableId"),
    inPlace: of("gatewayId", "natGatewayId", "networkInterfaceId"),
  },
  "aws:ec2/routeTableAssociation:RouteTableAssociation": {
    replaces: of("subnetId"),
    inPlace: of("routeTableId"),
  },
  "aws:ec2/natGateway:NatGateway": {
    replaces: of("subnetId", "allocationId", "connectivityType", "privateIp"),
    inPlace: [],
  },
  "aws:ec2/vpcEndpoint:VpcEndpoint": {
    replaces: of("serviceName", "vpcId", "vpcEndpointType"),
    inPlace: of("routeTableIds", "policy", "subnetIds", "securityGroupIds", "privateDnsEnabled"),
  },
  "aws:ec2/securityGroup:SecurityGroup": {
    replaces: of("name", "description", "vpcId"),
    inPlace: of("revokeRulesOnDelete"),
  },
  ...Object.fromEntries(
    ["Ingress", "Egress"].map((direction) => [
      `aws:vpc/securityGroup${direction}Rule:SecurityGroup${direction}Rule`,
      {
        replaces: of("securityGroupId"),
        inPlace: of(
          "fromPort",
          "toPort",
          "ipProtocol",
          "cidrIpv4",
          "referencedSecurityGroupId",
          "description",
        ),
      },
    ]),
  ),
  "aws:iam/role:Role": {
    replaces: of("name", "path"),
    inPlace: of(
      "assumeRolePolicy",
      "description",
      "maxSessionDuration",
      "permissionsBoundary",
      "forceDetachPolicies",
    ),
  },
  "aws:iam/rolePolicy:RolePolicy": { replaces: of("role", "name"), inPlace: of("policy") },
  "aws:iam/rolePolicyAttachment:RolePolicyAttachment": {
    replaces: of("role", "policyArn"),
    inPlace: [],
  },
  "aws:iam/instanceProfile:InstanceProfile": {
    replaces: of("name", "path"),
    inPlace: of("role"),
  },
  "aws:ssm/parameter:Parameter": {
    replaces: of("name", "dataType"),
    inPlace: of(
      "type",
      "value",
      "insecureValue",
      "tier",
      "keyId",
      "description",
      "allowedPattern",
      "overwrite",
      "arn",
    ),
  },
  "aws:s3/bucket:Bucket": { replaces: of("bucket"), inPlace: of("forceDestroy") },
  "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": {
    replaces: of("bucket"),
    inPlace: of(
      "blockPublicAcls",
      "blockPublicPolicy",
      "ignorePublicAcls",
      "restrictPublicBuckets",
      "skipDestroy",
    ),
  },
  "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": {
    replaces: of("bucket", "expectedBucketOwner"),
    inPlace: of("rules"),
  },
  "aws:s3/bucketObjectv2:BucketObjectv2": {
    replaces: of("key", "bucket"),
    inPlace: of(
      "content",
      "source",
      "contentType",
      "cacheControl",
      "metadata",
      "serverSideEncryption",
      "storageClass",
      "forceDestroy",
      "etag",
    ),
  },
  "aws:ec2/instance:Instance": {
    replaces: of(
      "ami",
      "subnetId",
      "availabilityZone",
      "privateIp",
      "associatePublicIpAddress",
      "keyName",
      "tenancy",
      "ebsOptimized",
      { property: "cpuOptions", old: { coreCount: 1 }, now: { coreCount: 2 } },
      { property: "userData", beside: { userDataReplaceOnChange: true } },
      { property: "rootBlockDevice", old: { encrypted: false }, now: { encrypted: true } },
    ),
    inPlace: of(
      "instanceType",
      { property: "userData", old: "a", now: "b" },
      "vpcSecurityGroupIds",
      "iamInstanceProfile",
      { property: "userDataReplaceOnChange", old: false, now: true },
      "sourceDestCheck",
      "monitoring",
      "disableApiTermination",
      "disableApiStop",
      "creditSpecification",
      "metadataOptions",
      {
        property: "rootBlockDevice",
        old: { encrypted: true, volumeSize: 8, iops: 3000, tags: { Name: "a" } },
        now: { encrypted: true, volumeSize: 16, iops: 4000, tags: { Name: "b" } },
      },
      "maintenanceOptions",
      "instanceInitiatedShutdownBehavior",
    ),
  },
  "aws:ebs/volume:Volume": {
    replaces: of("availabilityZone", "encrypted", "snapshotId", "kmsKeyId", "multiAttachEnabled"),
    inPlace: of("size", "type", "iops", "throughput", "finalSnapshot"),
  },
  "aws:ec2/volumeAttachment:VolumeAttachment": {
    replaces: of("deviceName", "volumeId", "instanceId"),
    inPlace: of("skipDestroy", "stopInstanceBeforeDetaching", "forceDetach"),
  },
  "aws:route53/zone:Zone": {
    replaces: of("name"),
    inPlace: of("comment", "forceDestroy", "vpcs"),
  },
  "aws:route53/record:Record": {
    replaces: of("name", "zoneId"),
    inPlace: of("type", "ttl", "records", "allowOverwrite"),
  },
  "aws:ec2/eip:Eip": { replaces: of("domain", "publicIpv4Pool"), inPlace: of("instance") },
  "aws:ec2/eipAssociation:EipAssociation": {
    replaces: of(
      "instanceId",
      "allocationId",
      "allowReassociation",
      "networkInterfaceId",
      "privateIpAddress",
    ),
    inPlace: [],
  },
  "aws:cloudwatch/metricAlarm:MetricAlarm": {
    replaces: of("name"),
    inPlace: of(
      "threshold",
      "dimensions",
      "alarmDescription",
      "namespace",
      "metricName",
      "statistic",
      "extendedStatistic",
      "period",
      "evaluationPeriods",
      "datapointsToAlarm",
      "comparisonOperator",
      "treatMissingData",
      "unit",
      "actionsEnabled",
      "alarmActions",
      "okActions",
      "insufficientDataActions",
      "thresholdMetricId",
      "evaluateLowSampleCountPercentiles",
      { property: "metricQueries", old: [{ id: "a" }], now: [{ id: "b" }] },
    ),
  },
  "aws:cloudwatch/dashboard:Dashboard": {
    replaces: of("dashboardName"),
    inPlace: of("dashboardBody"),
  },
  "aws:cloudwatch/logGroup:LogGroup": {
    replaces: of("name", "logGroupClass"),
    inPlace: of("retentionInDays", "kmsKeyId", "skipDestroy"),
  },
  "aws:sns/topic:Topic": {
    replaces: of("name"),
    inPlace: of("displayName", "policy", "deliveryPolicy", "kmsMasterKeyId"),
  },
  "aws:sns/topicSubscription:TopicSubscription": {
    replaces: of("topic", "protocol", "endpoint"),
    inPlace: of(
      "endpointAutoConfirms",
      "confirmationTimeoutInMinutes",
      "rawMessageDelivery",
      "filterPolicy",
      "filterPolicyScope",
    ),
  },
  "aws:dlm/lifecyclePolicy:LifecyclePolicy": {
    replaces: of({ property: "policyDetails", old: daily({ copyTags: true }), now: daily({}) }),
    inPlace: of(
      "description",
      "executionRoleArn",
      "state",
      ...[
        { name: "another" },
        { tagsToAdd: { madeBy: "schedule" } },
        { createRule: { cronExpression: "cron(0 4 * * ? *)" } },
        { retainRule: { count: 3 } },
      ].map((changed) => ({ property: "policyDetails", old: daily({}), now: daily(changed) })),
    ),
  },
  "tls:index/privateKey:PrivateKey": {
    replaces: of("algorithm", "ecdsaCurve", "rsaBits"),
    inPlace: [],
  },
  "tls:index/selfSignedCert:SelfSignedCert": {
    replaces: of(
      "privateKeyPem",
      "subject",
      "dnsNames",
      "ipAddresses",
      "uris",
      "validityPeriodHours",
      "allowedUses",
      "isCaCertificate",
      "setSubjectKeyId",
      "setAuthorityKeyId",
    ),
    inPlace: of({ property: "earlyRenewalHours", old: 1, now: 2 }),
  },
  "random:index/randomPassword:RandomPassword": {
    replaces: of(
      "keepers",
      "length",
      "lower",
      "minLower",
      "numeric",
      "minNumeric",
      "upper",
      "minUpper",
      "special",
      "minSpecial",
      "overrideSpecial",
    ),
    inPlace: [],
  },
  "random:index/randomBytes:RandomBytes": { replaces: of("keepers", "length"), inPlace: [] },
  "random:index/randomId:RandomId": {
    replaces: of("keepers", "byteLength", "prefix"),
    inPlace: [],
  },
};
