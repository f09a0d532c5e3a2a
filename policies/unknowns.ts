/*
 * A preview does not know what only the update will: @pulumi/policy throws where a rule reads that, and then says
 * that it could not run the rule.
 */

/** Reads a value, or nothing where it is not known yet. */
export function known<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    if (isUnknown(error)) {
      return undefined;
    }
    throw error;
  }
}

/** Checks each item, the others too where one can't be checked; that is still said. */
export function eachKnown<Item>(items: Item[], check: (item: Item) => void): void {
  const unknown: unknown[] = [];
  for (const item of items) {
    try {
      check(item);
    } catch (error) {
      if (!isUnknown(error)) {
        throw error;
      }
      unknown.push(error);
    }
  }
  if (unknown.length > 0) {
    throw unknown[0];
  }
}

/** @pulumi/policy exports no class for it. */
function isUnknown(error: unknown): boolean {
  return error instanceof Error && error.constructor.name === "UnknownValueError";
}
