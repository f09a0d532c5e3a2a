import fc from "fast-check";
import { Netmask } from "netmask";
import { subnetRanges } from "../../components/network";

const vpcs = fc
  .tuple(fc.nat(0xffff), fc.integer({ min: 16, max: 25 }))
  .map(([second, bits]) => new Netmask(`10.${second >> 8}.${second & 255}.0/${bits}`));

test("subnets lie inside the VPC and never overlap", () => {
  fc.assert(
    fc.property(vpcs, (vpc) => {
      const ranges = subnetRanges(vpc.toString()).map((range) => new Netmask(range));
      for (const [index, range] of ranges.entries()) {
        expect(vpc.contains(range)).toBe(true);
        for (const other of ranges.slice(index + 1)) {
          expect(range.contains(other) || other.contains(range)).toBe(false);
        }
      }
    }),
  );
});

test("no subnet is smaller than AWS takes", () => {
  fc.assert(
    fc.property(vpcs, (vpc) => {
      for (const range of subnetRanges(vpc.toString())) {
        expect(new Netmask(range).bitmask).toBeLessThanOrEqual(28);
      }
    }),
  );
});

test("subnets keep their places", () => {
  expect(subnetRanges("10.20.0.0/16")).toMatchInlineSnapshot(`
   [
     "10.20.0.0/19",
     "10.20.32.0/19",
     "10.20.64.0/19",
     "10.20.96.0/19",
     "10.20.128.0/19",
     "10.20.160.0/19",
     "10.20.192.0/19",
     "10.20.224.0/19",
   ]
  `);
});
