import { type MachineContents, type MachineFile, script, staticFile } from "../cloudConfig";
import { haproxyConfig, type HaproxyConfigArgs } from "./haproxyConfig";
import { studConfig } from "./studConfig";

/** What a balancer is made of, beside what every machine gets. */
export interface BalancerMachineArgs extends HaproxyConfigArgs {
  /** How the TLS terminator gets on the machine: compiled there, or as Debian's package. */
  studInstall: "source" | "package";
  /** Name of the SSM parameter with the certificate and its intermediates, in PEM. */
  certificateParameter: string;
  /** Name of the SSM parameter with the certificate's private key, in PEM. */
  keyParameter: string;
}

/** HAProxy for plain HTTP, and Stud (today Hitch), which ends TLS, in front of it. */
export function balancerMachine(args: BalancerMachineArgs): MachineContents {
  return {
    environment: {
      STUD_INSTALL: args.studInstall,
      HITCH: args.studInstall === "source" ? "/usr/local/sbin/hitch" : "/usr/sbin/hitch",
      TLS_CERTIFICATE_PARAMETER: args.certificateParameter,
      TLS_KEY_PARAMETER: args.keyParameter,
    },
    files: [
      { path: "/etc/haproxy/haproxy.cfg", content: haproxyConfig(args) },
      { path: "/etc/stud/stud.conf", content: studConfig(args) },
      unit("stud.service"),
      unit("update-certificate.service"),
      unit("update-certificate.timer"),
      {
        path: "/etc/systemd/system/haproxy.service.d/meteor-scale.conf",
        content: staticFile("balancer", "haproxy.conf"),
      },
      script("balancer", "install-balancer"),
      ...(args.studInstall === "source" ? [script("balancer", "build-hitch")] : []),
      script("balancer", "update-certificate"),
      script("balancer", "start-balancer"),
    ],
    steps: ["install-balancer", "update-certificate", "start-balancer"],
  };
}

function unit(name: string): MachineFile {
  return { path: `/etc/systemd/system/${name}`, content: staticFile("balancer", name) };
}
