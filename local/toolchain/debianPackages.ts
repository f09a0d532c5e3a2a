import { outputOf, runLogged, type Step } from "./step";

/** What the local region needs of Debian, and of Ubuntu, which has the same names. */
const packages = [
  "ca-certificates",
  "curl",
  "debian-archive-keyring",
  "dnsmasq-base",
  "e2fsprogs",
  "iproute2",
  "iputils-arping",
  "mmdebstrap",
  "nftables",
  "openssl",
  "python3-venv",
  "systemd-container",
  "util-linux",
  "xfsprogs",
  "zstd",
];

/** Installs those that are missing. */
export async function installDebianPackages(step: Step, names = packages): Promise<void> {
  const missing: string[] = [];
  for (const name of names) {
    const status = await outputOf("dpkg-query", ["--show", "--showformat", "${Status}", name]);
    if (status !== "install ok installed") {
      missing.push(name);
    }
  }
  if (missing.length === 0) {
    return;
  }
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  await runLogged(step, "debian-packages", "apt-get", ["--quiet", "update"], { env });
  await runLogged(
    step,
    "debian-packages",
    "apt-get",
    ["--quiet", "install", "--yes", "--no-install-recommends", ...missing],
    { env },
  );
}
