import {
  type AddressRecord,
  hostsFile,
  shortestTtl,
  vpcResolverArguments,
} from "../../local/region/dns";

const records: AddressRecord[] = [
  { name: "mongo1.meteor.internal", addresses: ["10.40.32.6"], ttl: 5, public: false },
  {
    name: "host1.meteor.internal",
    addresses: ["10.40.32.5", "10.40.32.4"],
    ttl: 30,
    public: false,
  },
  { name: "host2.meteor.internal", addresses: ["127.0.0.1"], ttl: 5, public: false },
];

test("the hosts file has a line for each address, in an order of its own", () => {
  expect(hostsFile(records)).toBe(
    "10.40.32.4 host1.meteor.internal\n" +
      "10.40.32.5 host1.meteor.internal\n" +
      "10.40.32.6 mongo1.meteor.internal\n" +
      "127.0.0.1 host2.meteor.internal\n",
  );
  expect(hostsFile([...records].reverse())).toBe(hostsFile(records));
});

test("names are remembered no longer than their records allow", () => {
  expect(shortestTtl(records)).toBe(5);
  expect(shortestTtl([])).toBe(60);
  const args = vpcResolverArguments({
    hostsFiles: ["/hosts"],
    ttl: 5,
    awsApiAddress: "203.0.113.2",
    exceptInterface: "internet",
  });
  expect(args).toContain("--local-ttl=5");
  expect(args).toContain("--address=/amazonaws.com/203.0.113.2");
});
