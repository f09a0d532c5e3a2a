/** What several measurements of the same thing say together. */
export interface Spread {
  median: number;
  min: number;
  max: number;
}

/** @throws Error if there are no values */
export function spread(values: number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** @throws Error if there are no values */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const low = sorted[(sorted.length - 1) >> 1];
  const high = sorted[sorted.length >> 1];
  if (low === undefined || high === undefined) {
    throw new Error("there is no median of no values");
  }
  return (low + high) / 2;
}

/**
 * The value below which a share of all values lies, as one of them.
 *
 * @param share 0 to 1
 * @throws Error if there are no values
 */
export function percentile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  if (value === undefined) {
    throw new Error("there is no percentile of no values");
  }
  return value;
}

/** The things that are compared, in another order in each repeat, so that none is always the first. */
export function inTurn<Thing>(things: Thing[], repeat: number): Thing[] {
  const at = things.length === 0 ? 0 : repeat % things.length;
  const turned = [...things.slice(at), ...things.slice(0, at)];
  return Math.floor(repeat / Math.max(1, things.length)) % 2 === 0 ? turned : turned.reverse();
}

/** Largest to smallest; Infinity where one has none. */
export function imbalance(counts: number[]): number {
  return Math.max(...counts) / Math.min(...counts);
}

/** A number for people: three figures, or all before the point. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) {
    return Number.isNaN(value) ? "-" : "∞";
  }
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1)));
  return value.toFixed(Math.min(digits, 3));
}

/** `median (min–max)`. */
export function spreadText({ median: middle, min, max }: Spread): string {
  return `${figure(middle)} (${figure(min)}–${figure(max)})`;
}
