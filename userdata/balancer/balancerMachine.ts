import { type MachineContents, script, staticFile, telegrafPart, unit } from "../cloudConfig";
import { haproxyConfig, type HaproxyConfigArgs } from "./haproxyConfig";
import { studConfig } from "./studConfig";

/** What a balancer is made of, beside what every machine gets. */
export interface BalancerMachineArgs extends HaproxyConfigArgs {
  /** How the TLS terminator gets on the machine: compiled there, or as Debian's package. */
  studInstall: "source" | "package";
  /** SSM path of the certificate, its key, and of what an ACME authority has to do with them. */
  tlsPath: string;
}

/** HAProxy for plain HTTP, and Stud (today Hitch), which ends TLS, in front of it. */
export function balancerMachine(args: BalancerMachineArgs): MachineContents {
  return {
    environment: {
      STUD_INSTALL: args.studInstall,
      HITCH: args.studInstall === "source" ? "/usr/local/sbin/hitch" : "/usr/sbin/hitch",
      TLS_PATH: args.tlsPath,
      ...(args.acme && { ACME: "true" }),
    },
    files: [
      { path: "/etc/haproxy/haproxy.cfg", content: haproxyConfig(args) },
      { path: "/etc/stud/stud.conf", content: studConfig(args) },
      unit("balancer", "stud.service"),
      unit("balancer", "update-certificate.service"),
      unit("balancer", "update-certificate.timer"),
      {
        path: "/etc/systemd/system/haproxy.service.d/meteor-scale.conf",
        content: staticFile("balancer", "haproxy.conf"),
        fetched: true,
      },
      {
        path: "/usr/local/lib/meteor-scale/silent-hosts.lua",
        content: staticFile("balancer", "silent-hosts.lua"),
        fetched: true,
      },
      telegrafPart("balancer"),
      script("balancer", "install-balancer"),
      ...(args.studInstall === "source" ? [script("balancer", "build-hitch")] : []),
      script("balancer", "update-certificate"),
      script("balancer", "start-balancer"),
      script("balancer", "serves"),
      ...(args.acme
        ? [
            script("balancer", "obtain-certificate"),
            unit("balancer", "obtain-certificate.service"),
            unit("balancer", "obtain-certificate.timer"),
          ]
        : []),
    ],
    steps: [
      ...["install-balancer", "update-certificate", "start-balancer"],
      ...(args.acme ? ["obtain-certificate"] : []),
    ],
  };
}
