import { join } from "node:path";
import { repositoryFolder } from "../../local/paths";
import { installTools, run } from "../tools";

jest.setTimeout(60_000);

/** Answers each line that it reads, a little later, and prints it. */
const server = `
require("node:net").createServer((socket) => socket.on("data", (text) => {
  for (const line of String(text).trim().split("\\n")) {
    process.stdout.write("ran " + line + "\\n");
    setTimeout(() => socket.write(line + "\\n"), 50);
  }
})).listen(3000)`;

/** Sends a line every 20 ms until the connection ends, and prints what was answered. */
const client = `
const socket = require("node:net").connect(3000, "10.20.32.10");
let sent = 0;
setInterval(() => socket.write(String(sent++) + "\\n"), 20);
socket.on("data", (text) => process.stdout.write(String(text).replace(/^/gm, "answered ").replace(/answered $/, "")));
socket.on("end", () => { console.log("ended after " + sent); process.exit(); });`;

beforeAll(() => {
  installTools({
    "/usr/bin/ss": "iproute2",
    "/usr/sbin/nft": "nftables",
    "/usr/bin/unshare": "util-linux",
  });
});

test("a host at the end of its drain runs nothing that it can't answer, and ends its connections", () => {
  const output = run(
    "unshare",
    [
      ...["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"],
      ...["bash", "-euo", "pipefail", "-c"],
      `
mount -t tmpfs tmpfs /run
ip netns add balancer
ip link add ens5 type veth peer name ens5 netns balancer
ip address add 10.20.32.10/24 dev ens5
ip -n balancer address add 10.20.32.20/24 dev ens5
ip link set ens5 up
ip -n balancer link set ens5 up
mkdir /run/bin
printf '#!/bin/bash\\necho stopping\\n' >/run/bin/systemctl
chmod +x /run/bin/systemctl
node -e "$SERVER" &
server=$!
until ss -Hltn sport = 3000 | grep -q .; do sleep 0.1; done
ip netns exec balancer timeout 20 node -e "$CLIENT" &
client=$!
PATH="/run/bin:$PATH" PORT=3000 DRAIN_TIMEOUT=11 ${join(repositoryFolder, "userdata/meteor/drain.sh")}
kill $server
wait $client`,
    ],
    { SERVER: server, CLIENT: client },
  );
  const numbers = (word: string): number[] =>
    [...output.matchAll(new RegExp(`^${word} (\\d+)$`, "gm"))].map(([, number]) => Number(number));
  const ran = numbers("ran");
  const [sent = 0] = numbers("ended after");
  expect(ran.length).toBeGreaterThan(100);
  expect(numbers("answered")).toEqual(ran);
  expect(sent).toBeGreaterThan(ran.length);
});
