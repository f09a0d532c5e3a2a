import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";

const price = z.number().nonnegative();

const regionPrices = z.strictObject({
  /** By EC2 type. */
  machineHour: z.record(z.string(), price),
  natGatewayHour: price,
  natGatewayGigabyte: price,
  publicAddressHour: price,
  gp3GigabyteMonth: price,
  snapshotGigabyteMonth: price,
  betweenZonesGigabyte: price,
  internetGigabyte: price,
  s3GigabyteMonth: price,
  alarmMonth: price,
  metricMonth: price,
  /** Of a machine that sends its metrics once a minute. */
  metricRequestsHour: price,
  logGigabyte: price,
  hostedZoneMonth: price,
  dnsMillionQueries: price,
  advancedParameterMonth: price,
});

const priceList = z.strictObject({
  /** When it was put together, as YYYY-MM-DD. */
  date: z.iso.date(),
  regions: z.record(z.string(), regionPrices),
});

/** USD; an hour, a GB or a month each. */
export type RegionPrices = z.infer<typeof regionPrices>;
export type PriceList = z.infer<typeof priceList>;

/** The committed list. */
export function readPrices(path = join(__dirname, "prices.yaml")): PriceList {
  const { success, data, error } = priceList.safeParse(parse(readFileSync(path, "utf8")));
  if (!success) {
    throw new Error(`${path}: ${z.prettifyError(error)}`);
  }
  return data;
}

/** @throws Error that says how to add a region */
export function pricesOf(list: PriceList, region: string): RegionPrices {
  const prices = list.regions[region];
  if (prices === undefined) {
    throw new Error(
      `cost/prices.yaml has no prices of ${region}, only of ${Object.keys(list.regions).join(" and ")}. Write them ` +
        "under regions, as those of the others are; its first lines say where AWS lists them.",
    );
  }
  return prices;
}
