import { isIP } from "node:net";
import { domainToASCII } from "node:url";

/** https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4 */
const nameLimit = 253;
const labelLimit = 63;

/** Ends of names that the public DNS never has: https://www.iana.org/assignments/special-use-domain-names */
const privateEnds = [
  "localhost",
  "local",
  "internal",
  "test",
  "example",
  "invalid",
  "onion",
  "alt",
  "home.arpa",
];

/**
 * What keeps a text from being a host name: letters, digits and hyphens in two or more labels.
 *
 * @param name in lower case
 * @param wildcard whether it may begin with `*.`
 * @returns what is asked for, or undefined if the name is one
 */
export function hostNameProblem(name: string, wildcard = false): string | undefined {
  if (isIP(name) !== 0) {
    return "it must be a name, not an address";
  }
  if (name.endsWith(".")) {
    return "leave out the dot at its end";
  }
  // eslint-disable-next-line no-control-regex
  if (/[^\x00-\x7f]/.test(name)) {
    const ascii = domainToASCII(name);
    return ascii === ""
      ? "it must be of letters, digits, hyphens and dots"
      : `names of other letters are written in punycode: ${ascii}`;
  }
  const labels = (wildcard && isWildcard(name) ? name.slice("*.".length) : name).split(".");
  if (labels.length < 2 || !/[a-z]/.test(labels.at(-1) ?? "")) {
    return "it must be a whole name, such as www.example.com";
  }
  if (name.length > nameLimit || labels.some((label) => label.length > labelLimit)) {
    return `it may have ${nameLimit} characters, and ${labelLimit} between two dots`;
  }
  return labels.every((label) => /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(label))
    ? undefined
    : "it must be of letters, digits, hyphens and dots, with a letter or digit beside each dot";
}

/** Whether the public DNS can have the name, so that strangers can reach it. */
export function canBePublic(name: string): boolean {
  return (
    hostNameProblem(name, true) === undefined && !privateEnds.some((end) => isInZone(name, end))
  );
}

/** Whether a zone's own servers answer for the name. */
export function isInZone(name: string, zone: string): boolean {
  return name === zone || name.endsWith(`.${zone}`);
}

export function isWildcard(name: string): boolean {
  return name.startsWith("*.");
}
