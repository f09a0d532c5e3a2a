import { type MachineMetadata, metadataTree, readMetadata } from "../../local/region/metadata";

const machine: MachineMetadata = {
  instanceId: "i-00000000000000001",
  imageId: "ami-00000000000000001",
  instanceType: "c7a.medium",
  hostName: "ip-10-40-0-4.eu-central-1.compute.internal",
  address: "10.40.0.4",
  macAddress: "02:00:00:00:00:01",
  subnetRange: "10.40.0.0/19",
  zone: "eu-central-1a",
  region: "eu-central-1",
  accountId: "123456789012",
  securityGroups: ["balancer", "other"],
  role: "balancer-role",
  userData: "#cloud-config\n",
};

function read(path: string, of: MachineMetadata = machine): string | undefined {
  return readMetadata(metadataTree(of), path);
}

test.each([
  ["/latest/user-data", "#cloud-config\n"],
  ["/2009-04-04/meta-data/instance-id", "i-00000000000000001"],
  ["/latest/meta-data/placement/region", "eu-central-1"],
  ["/latest/meta-data/placement/", "availability-zone\nregion"],
  ["/latest/meta-data/network/interfaces/macs", "02:00:00:00:00:01/"],
  ["/latest/meta-data/iam/security-credentials/", "balancer-role"],
  ["/latest/meta-data/security-groups", "balancer\nother"],
])("%s is told", (path, text) => {
  expect(read(path)).toBe(text);
});

test.each(["/", "/meta-data", "/latest/meta-data/nothing", "/latest/user-data/below"])(
  "%s is not there",
  (path) => {
    expect(read(path)).toBeUndefined();
  },
);

test("a machine without user data or role has neither", () => {
  const plain = { ...machine, role: undefined, userData: undefined };
  expect(read("/latest/user-data", plain)).toBeUndefined();
  expect(read("/latest/meta-data/iam/info", plain)).toBeUndefined();
  expect(read("/latest", plain)).toBe("dynamic/\nmeta-data/");
});

test("credentials are of the kind that the AWS CLI asks for", () => {
  const text = read("/latest/meta-data/iam/security-credentials/balancer-role") ?? "";
  const { Code, Expiration } = JSON.parse(text) as { Code: string; Expiration: string };
  expect(Code).toBe("Success");
  expect(Date.parse(Expiration)).toBeGreaterThan(Date.now() + 3_600_000);
});
