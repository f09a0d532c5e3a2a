import * as faults from "./faults";

/** What may be seen of a fault, and what must be noticed. */
export interface Bounds {
  /** Whose sessions may notice it; those of any other host see nothing. */
  affected: "nobody" | "host1" | "everybody";
  /** Seconds that an affected session may be without an answer, from the moment of the fault. */
  withoutAnswer: number;
  /** Whether connections of affected sessions may break. */
  reconnects: boolean;
  /** Whether calls may be answered with an error, as they are without a database. */
  callsFail?: true;
  /** Seconds after the fault began within which a plain request that is sent may fail. Default: none may. */
  requestsFailWithin?: number;
  /** What must be among the notices, each as `MACHINE PROGRAM: message`. */
  noticed: readonly RegExp[];
  /** What must not be among them. */
  notNoticed?: RegExp;
  /** Seconds after the fault began within which all is well again, without a hand. */
  wellWithin: number;
}

/** One fault of a stack that runs. */
export interface Drill {
  name: string;
  /** For tables. */
  title: string;
  /** What is done, and for how long, for the documentation. */
  what: string;
  bounds: Bounds;
  /** Makes what the fault needs, before anything is measured. */
  prepare?: () => Promise<void>;
  /** Makes the fault, and lifts it where it does not end by itself. */
  fault: faults.Fault;
  /** Takes away what `prepare` made. */
  restore?: () => Promise<void>;
}

const hostDown = /^balancer haproxy: .*apps\/host1 is DOWN/;
const anyDown = /^balancer haproxy: .*apps\/host\d is DOWN/;

/** One host lost, however. */
const hostLost = {
  affected: "host1",
  withoutAnswer: 5,
  reconnects: true,
  requestsFailWithin: 5,
  wellWithin: 90,
} as const;

const unseen = {
  affected: "nobody",
  withoutAnswer: 0,
  reconnects: false,
  notNoticed: anyDown,
  wellWithin: 90,
} as const;

/** All that stands or falls with the balancer. */
const balancerLost = {
  affected: "everybody",
  withoutAnswer: 5,
  reconnects: true,
  requestsFailWithin: 5,
  wellWithin: 60,
} as const;

/** All drills, in the order in which they run. */
export const drills: Drill[] = [
  {
    name: "host-process",
    title: "host's process killed",
    what: "Meteor's process on host1 gets SIGKILL.",
    bounds: {
      ...hostLost,
      noticed: [hostDown, /^host1 systemd: meteor.service: .*status=9\/KILL/],
    },
    fault: faults.killUnit("host1", "meteor"),
  },
  {
    name: "host-machine",
    title: "host's machine gone",
    what:
      "host1 is cut off and killed, and no packet of it gets through any more, not even the end of a connection. " +
      "After 10 s it boots.",
    bounds: { ...hostLost, noticed: [hostDown, /^host1 systemd: Startup finished/] },
    fault: faults.loseMachine("host1", 10),
  },
  {
    name: "host-hung",
    title: "host hangs",
    what: "Meteor's process on host1 gets SIGSTOP, and nothing more.",
    bounds: {
      ...hostLost,
      noticed: [hostDown, /^host1 systemd: meteor.service: Watchdog timeout/],
    },
    fault: faults.hangUnit("host1", "meteor"),
  },
  {
    name: "host-busy",
    title: "host busy for 2 s, three times",
    what: "Meteor's process on host1 is stopped for 2 s, three times with 3 s between: slow, not lost.",
    bounds: {
      affected: "host1",
      withoutAnswer: 4,
      reconnects: false,
      noticed: [],
      notNoticed: anyDown,
      wellWithin: 30,
    },
    fault: faults.pauseUnit("host1", "meteor", { times: 3, length: 2, between: 3 }),
  },
  {
    name: "host-memory",
    title: "host out of memory",
    what:
      "Meteor's process on host1 is made to keep 64 MB more every 50 ms, outside of Node's heap, until the kernel " +
      "ends it.",
    bounds: {
      ...hostLost,
      noticed: [hostDown, /^host1 systemd: meteor.service: .*status=9\/KILL/],
    },
    fault: faults.leakMemory("host1"),
  },
  {
    name: "disk-host",
    title: "host's disk full",
    what: "The root disk of host1 is full for 15 s.",
    bounds: { ...unseen, noticed: [] },
    fault: faults.fillDisks("host1", ["/"], 15),
  },
  {
    name: "disk-mongo",
    title: "Mongo's disks full",
    what: "The data volume and the root disk of mongo1 are full for 15 s.",
    bounds: {
      affected: "everybody",
      withoutAnswer: 45,
      reconnects: false,
      callsFail: true,
      noticed: [],
      notNoticed: anyDown,
      wellWithin: 90,
    },
    fault: faults.fillDisks("mongo1", ["/", "/var/lib/mongodb"], 15),
  },
  {
    name: "disk-balancer",
    title: "balancer's disk full",
    what: "The root disk of the balancer is full for 15 s.",
    bounds: { ...unseen, noticed: [] },
    fault: faults.fillDisks("balancer", ["/"], 15),
  },
  {
    name: "packets",
    title: "packets lost and late",
    what:
      "Of the packets between balancer and host1 one in 20 is lost in each direction, and those to host1 are 30 to " +
      "70 ms late, for 30 s.",
    bounds: {
      affected: "host1",
      withoutAnswer: 5,
      reconnects: false,
      noticed: [],
      notNoticed: anyDown,
      wellWithin: 60,
    },
    fault: faults.worsenPath("balancer", "host1", {
      lossPercent: 5,
      delay: 0.05,
      jitter: 0.02,
      lasts: 30,
    }),
  },
  {
    name: "mongo",
    title: "Mongo away for a minute",
    what: "No packet of mongo1 gets through for 60 s.",
    bounds: {
      affected: "everybody",
      withoutAnswer: 90,
      reconnects: false,
      callsFail: true,
      noticed: [/^host\d meteor: /],
      notNoticed: anyDown,
      wellWithin: 120,
    },
    fault: faults.cutOff("mongo1", 60),
  },
  {
    name: "dns",
    title: "DNS away",
    what: "The VPC's resolver answers nobody for 30 s.",
    bounds: { ...unseen, noticed: [] },
    fault: faults.drop("meta l4proto { tcp, udp } th dport 53", 30),
  },
  {
    name: "haproxy",
    title: "HAProxy killed",
    what: "All processes of HAProxy get SIGKILL.",
    bounds: { ...balancerLost, noticed: [/^balancer systemd: haproxy.service: .*status=9\/KILL/] },
    fault: faults.killUnit("balancer", "haproxy"),
  },
  {
    name: "stud",
    title: "TLS process killed",
    what: "All processes of Stud (Hitch) get SIGKILL.",
    bounds: { ...balancerLost, noticed: [/^balancer systemd: stud.service: .*status=9\/KILL/] },
    fault: faults.killUnit("balancer", "stud"),
  },
  {
    name: "aws",
    title: "metadata and AWS API away",
    what: "Neither the instance metadata service nor the AWS API answers any machine for 30 s.",
    bounds: { ...unseen, noticed: [] },
    fault: faults.dropAws(30),
  },
  {
    name: "clock",
    title: "clock jumps",
    what:
      "The wall clock of HAProxy, Stud and Meteor on host1 goes forward by an hour, 10 s later back by two, and " +
      "10 s later is right again (libfaketime, in their processes only).",
    // HAProxy 2.6 lets timeouts pass by what the clock jumps forward while it is at work.
    bounds: {
      affected: "everybody",
      withoutAnswer: 5,
      reconnects: true,
      requestsFailWithin: 25,
      noticed: [],
      notNoticed: anyDown,
      wellWithin: 60,
    },
    prepare: faults.prepareClocks,
    fault: faults.jumpClocks([3600, -3600, 0], 10),
    restore: faults.restoreClocks,
  },
  {
    name: "restart",
    title: "all machines restarted",
    what: "All machines lose their power in the same moment, and boot.",
    bounds: {
      affected: "everybody",
      withoutAnswer: 60,
      reconnects: true,
      requestsFailWithin: 60,
      noticed: [/^balancer systemd: Startup finished/, /^mongo1 systemd: Startup finished/],
      wellWithin: 90,
    },
    fault: faults.crashAll(),
  },
];

/**
 * The drills of these names; all where there is none.
 *
 * @throws RangeError that lists the names
 */
export function drillsOf(names: string[]): Drill[] {
  const known = drills.map(({ name }) => name);
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new RangeError(
      `There is no drill ${unknown.join(", ")}. There are: ${known.join(", ")}.`,
    );
  }
  return names.length === 0 ? drills : drills.filter(({ name }) => names.includes(name));
}
