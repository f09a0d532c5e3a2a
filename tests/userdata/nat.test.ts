import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { natMachine } from "../../userdata/nat/natMachine";
import { installTools, type Outcome, outcomeOf } from "../tools";

const { files, steps, environment } = natMachine({ vpcCidr: "10.20.0.0/16" });

/**
 * A machine's files over this computer's own, and around it a VPC of namespaces: what a host sends to the
 * internet is routed to the machine, which has one interface as on EC2. `systemctl restart nftables` does
 * what Debian's unit says, and `aside` may change anything before the machine starts.
 */
function machine(commands: string, aside = ""): Outcome {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-nat-"));
  const write = (path: string, content: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content, { mode: 0o755 });
  };
  try {
    files.forEach(({ path, content }) => {
      write(path, content);
    });
    write(
      "/usr/local/bin/systemctl",
      `#!/bin/bash
[ "$*" != "restart nftables" ] || exec $(sed -n 's/^ExecStart=//p' /lib/systemd/system/nftables.service)
`,
    );
    write(
      "/usr/local/bin/ask",
      `#!/bin/bash
exec ip netns exec host socat -T 10 - TCP:198.51.100.10:80,connect-timeout=10
`,
    );
    const setUp = `
set -euo pipefail
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
for path in etc usr/local; do
  mount -t overlay overlay -o lowerdir=${folder}/$path:/$path /$path
done
mount -t tmpfs tmpfs /run
connect() {
  ip link add "$1" netns vpc type veth peer name ens5 netns "$1"
  ip -n "$1" address add "$2" dev ens5
  ip -n "$1" link set ens5 up
  ip -n vpc address add 169.254.1.1/32 dev "$1"
  ip -n vpc link set "$1" up
  ip -n vpc route add "\${2%/*}" dev "$1"
  ip -n "$1" route add 169.254.1.1 dev ens5
  ip -n "$1" route add default via 169.254.1.1
}
for name in vpc host internet; do ip netns add $name; done
# The machine itself is in the namespace where the commands run.
mkdir -p /run/netns && touch /run/netns/nat && mount --bind /proc/self/ns/net /run/netns/nat
connect host 10.20.32.10/32
connect nat 10.20.0.5/32
connect internet 198.51.100.10/32
ip netns exec vpc sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
ip -n vpc rule add iif host lookup 100
ip -n vpc route add 198.51.100.0/24 via 10.20.0.5 dev nat onlink table 100
ip netns exec internet socat TCP-LISTEN:80,fork,reuseaddr SYSTEM:'echo $SOCAT_PEERADDR' &
until ip netns exec internet ss -Hltn sport = 80 | grep -q .; do sleep 0.1; done
${aside}
${commands}`;
    const flags = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    return outcomeOf("unshare", [...flags, "bash", "-c", setUp]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const start = "/usr/local/lib/meteor-scale/start-nat";

beforeAll(() => {
  installTools({
    "/usr/bin/socat": "socat",
    "/usr/bin/ss": "iproute2",
    "/usr/lib/systemd/systemd-sysctl": "systemd",
    "/usr/sbin/nft": "nftables",
  });
}, 600_000);

test("its contents are these", () => {
  const configuration = files.filter(({ path }) => path.startsWith("/etc/"));
  expect({ environment, steps, configuration }).toMatchSnapshot();
});

test("a host reaches the internet through it, under the machine's address", () => {
  const { status, output } = machine(`${start} && ask`);
  expect({ status, last: output.trim().split("\n").at(-1) }).toEqual({
    status: 0,
    last: "10.20.0.5",
  });
});

test("a second run changes nothing", () => {
  const { status, output } = machine(`${start} >/dev/null; nft list ruleset >/run/once
${start} >/dev/null; nft list ruleset | diff /run/once - && echo same`);
  expect({ status, output }).toEqual({ status: 0, output: "same\n" });
});

test("rules that nft can't read are told in its own words", () => {
  const { status, output } = machine(
    start,
    "echo 'table ip nat { nonsense }' >/run/rules; mount --bind /run/rules /etc/nftables.conf",
  );
  expect(status).not.toBe(0);
  expect(output).toMatch(/nftables\.conf:1.*syntax error/);
});

test.each([
  [
    "the rules of /etc/nftables.conf are not loaded",
    // A service that does nothing.
    "mount --bind /bin/true /usr/local/bin/systemctl",
  ],
  ["IPv4 forwarding is off", "mount --bind /dev/null /etc/sysctl.d/60-nat.conf"],
])("a machine does not count as ready while %s", (reason, aside) => {
  const { status, output } = machine(start, aside);
  expect({ status, last: output.trim().split("\n").at(-1) }).toEqual({ status: 1, last: reason });
});
