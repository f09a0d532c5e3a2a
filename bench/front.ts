import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { TopLevelSpec } from "vega-lite";
import { toolsFolder } from "../local/paths";
import { makeOnce, runLogged } from "../local/toolchain/step";
import type { Measured, RequestsArgs } from "./clients/requests";
import { barsWithSpread, type Goal, writeResult } from "./results";
import { inTurn, median, spread, spreadText } from "./statistics";
import { BenchSystem, silentStep, siteName } from "./system";

/** What stands in front of a host. */
type Front = "product" | "hitch" | "haproxyPlain" | "haproxy" | "nginx" | "direct";
interface FrontArgs {
  title: string;
  port: number;
  /** The control group whose CPU time is its own. */
  group?: string;
  /** Whether it ends TLS; the others get it in the clear. */
  tls: boolean;
}
const fronts: Record<Front, FrontArgs> = {
  product: { title: "Hitch + HAProxy", port: 443, group: "balancer", tls: true },
  // What each of the two costs by itself: what is left to win where the other costs nothing.
  hitch: { title: "Hitch alone", port: 7443, group: "hitch", tls: true },
  haproxyPlain: { title: "HAProxy alone, no TLS", port: 8082, group: "haproxyPlain", tls: false },
  haproxy: { title: "HAProxy ends TLS", port: 8443, group: "haproxy", tls: true },
  nginx: { title: "nginx", port: 9443, group: "nginx", tls: true },
  direct: { title: "host directly", port: 3000, tls: false },
};
const frontNames = Object.keys(fronts) as Front[];
/** Those that do all that the product does, which it is compared with. */
const peers = ["haproxy", "nginx"] as const;

type Work = "requests" | "messages" | "connections";
const works: Record<Work, { title: string; connections: number; rate: number }> = {
  requests: { title: "requests", connections: 40, rate: 500 },
  messages: { title: "WebSocket messages", connections: 40, rate: 1000 },
  connections: { title: "new TLS connections", connections: 20, rate: 100 },
};
const workNames = Object.keys(works) as Work[];

/** CPU time that a front gets where its throughput is measured, so that it is the limit and not its clients. */
const share = { cores: 0.2, period: 10_000 };
/** The least that is promised of the best peer's throughput. */
const promisedShare = 0.9;

/** One front at one kind of work, once. */
interface Sample {
  front: Front;
  work: Work;
  /** Of the front with its share of a core; of the host directly, which is its own limit, with all it gets. */
  perSecond: number;
  /** At a fixed rate, in milliseconds, without a limit of the CPU time. */
  p50: number;
  p99: number;
  /** Microseconds of the front's CPU time for each operation, at the fixed rate. */
  cpu: number;
}

/** How long it takes. */
export interface FrontOptions {
  repeats: number;
  seconds: number;
  out: string;
}

/**
 * Compares the balancer's Hitch and HAProxy with what others put in front of a host; prints what comes out and
 * writes it to `out/front.json` and `out/front.svg`.
 */
export async function benchFront({ repeats, seconds, out }: FrontOptions): Promise<void> {
  const nginx = await installNginx();
  const system = await BenchSystem.start({ hosts: 1 });
  const samples: Sample[] = [];
  try {
    await startHitch(system);
    await startHaproxy(system, "haproxy");
    await startHaproxy(system, "haproxyPlain");
    await startNginx(system, nginx);
    for (const front of frontNames) {
      await load(system, front, "requests", 1);
    }
    for (let repeat = 0; repeat < repeats; repeat += 1) {
      for (const work of workNames) {
        for (const front of inTurn(frontNames, repeat)) {
          console.log(
            `${repeat + 1} of ${repeats}: ${works[work].title}, ${fronts[front].title} …`,
          );
          samples.push(await sample(system, front, work, seconds));
        }
      }
    }
  } finally {
    await system.stop();
  }
  await writeResult(
    {
      name: "front",
      title: `What stands in front of a host: median (least–most) of ${repeats}`,
      data: { repeats, seconds, share, works, samples },
      table: frontTable(samples),
      goals: frontGoals(samples),
      picture: picture(samples),
    },
    out,
  );
}

async function sample(
  system: BenchSystem,
  front: Front,
  work: Work,
  seconds: number,
): Promise<Sample> {
  const { group } = fronts[front];
  const cpu = (): number => (group === undefined ? NaN : system.cpuSeconds(group));
  const before = cpu();
  const paced = await load(system, front, work, seconds, works[work].rate);
  const used = cpu() - before;
  if (group !== undefined) {
    system.limit(group, share);
  }
  const full = await load(system, front, work, seconds);
  if (group !== undefined) {
    system.limit(group);
  }
  return {
    ...{ front, work },
    perSecond: full.operations / full.seconds,
    p50: paced.p50,
    p99: paced.p99,
    cpu: (used * 1e6) / paced.operations,
  };
}

/** @throws Error if an operation failed, since what is measured would then be something else */
async function load(
  system: BenchSystem,
  front: Front,
  work: Work,
  seconds: number,
  rate?: number,
): Promise<Measured> {
  const { title, port, tls } = fronts[front];
  const address = front === "direct" ? system.addressOf("host1") : "127.0.0.1";
  const scheme = { requests: "http", connections: "http", messages: "ws" }[work];
  const url = `${scheme}${tls ? "s" : ""}://${address}:${port}`;
  const { connections } = works[work];
  const args: RequestsArgs = {
    ...{ url: work === "messages" ? url : `${url}/whoami`, connections, seconds },
    rate,
  };
  const client = system.client(work, args);
  const measured = await client.answer<Measured>();
  if (measured.operations === 0 || measured.failed > measured.operations / 1000) {
    throw new Error(
      `${title}, ${works[work].title}: ${measured.failed} failed and ${measured.operations} did not`,
    );
  }
  return measured;
}

/** The balancer's own stud.conf, but that Hitch leads to the host. */
async function startHitch(system: BenchSystem): Promise<void> {
  const { sandbox } = system;
  sandbox.write(
    "/etc/stud/alone.conf",
    changed(sandbox.run("cat", "/etc/stud/stud.conf"), [
      [/^frontend = .*$/m, `frontend = "[*]:${fronts.hitch.port}"`],
      [/^backend = .*$/m, `backend = "[${system.addressOf("host1")}]:${fronts.direct.port}"`],
      [/^write-proxy-v2 = on$/m, "write-proxy-v2 = off"],
    ]),
  );
  await system.startHitch("hitch", "/etc/stud/alone.conf");
}

/** The balancer's own haproxy.cfg, but that nobody ends TLS for it: itself with the ciphers of stud.conf, or no one. */
async function startHaproxy(system: BenchSystem, front: "haproxy" | "haproxyPlain"): Promise<void> {
  const { sandbox } = system;
  const { port, group = front, tls } = fronts[front];
  const ciphers = /^ciphers = "(.*)"$/m.exec(sandbox.run("cat", "/etc/stud/stud.conf"))?.[1] ?? "";
  const own = `ssl crt /etc/stud/pem/000.pem alpn http/1.1 ssl-min-ver TLSv1.2 ciphers ${ciphers}`;
  sandbox.write(
    `/etc/haproxy/bench-${front}.cfg`,
    changed(sandbox.run("cat", "/etc/haproxy/haproxy.cfg"), [
      [/^ {2}bind .* accept-proxy$/m, `  bind *:${port} ${tls ? own : ""}`],
      // Neither is asked for here.
      [/^ {2}bind \*:80$/m, `  bind /run/haproxy/bench-${front}-80.sock`],
      [/^ {2}bind 127\.0\.0\.1:8404$/m, `  bind /run/haproxy/bench-${front}-8404.sock`],
      [/admin\.sock/, `bench-${front}-admin.sock`],
      [/server-state$/m, `bench-${front}-server-state`],
    ]),
  );
  await system.serve(
    group,
    "Loading success",
    ...system.onOneCore("haproxy", "-Ws", "-f", `/etc/haproxy/bench-${front}.cfg`),
  );
}

/** @throws Error if the text has nothing like what is to be replaced */
function changed(text: string, changes: [RegExp, string][]): string {
  return changes.reduce((before, [pattern, replacement]) => {
    if (!pattern.test(before)) {
      throw new Error(`the configuration has nothing like ${String(pattern)} any more`);
    }
    return before.replace(pattern, replacement);
  }, text);
}

/**
 * What Meteor Up's proxy makes of its template for one host, without HTTP/2, which none of the others has:
 * https://github.com/zodern/meteor-up/blob/master/src/plugins/proxy/assets/nginx.tmpl
 */
function nginxConfig(system: BenchSystem): string {
  return `daemon off;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr notice;
events {
  worker_connections 10240;
}
http {
  map $http_upgrade $proxy_connection {
    default upgrade;
    '' close;
  }
  log_format vhost '$host $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"';
  access_log /run/nginx-access.log vhost;
  proxy_http_version 1.1;
  proxy_buffering off;
  proxy_set_header Host $http_host;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $proxy_connection;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header Proxy "";
  proxy_temp_path /run/nginx-proxy;
  client_body_temp_path /run/nginx-body;
  fastcgi_temp_path /run/nginx-fastcgi;
  uwsgi_temp_path /run/nginx-uwsgi;
  scgi_temp_path /run/nginx-scgi;
  upstream ${siteName} {
    server ${system.addressOf("host1")}:${fronts.direct.port};
  }
  server {
    listen ${fronts.nginx.port} ssl;
    server_name ${siteName};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
    ssl_session_timeout 5m;
    ssl_session_cache shared:SSL:50m;
    ssl_session_tickets off;
    ssl_certificate /etc/stud/pem/000.pem;
    ssl_certificate_key /etc/stud/pem/000.pem;
    add_header Strict-Transport-Security "max-age=31536000" always;
    location / {
      proxy_pass http://${siteName};
    }
  }
}
`;
}

async function startNginx(system: BenchSystem, program: string): Promise<void> {
  system.sandbox.write("/etc/nginx-bench.conf", nginxConfig(system));
  await system.serve(
    "nginx",
    "start worker process",
    ...system.onOneCore(program, "-e", "stderr", "-c", "/etc/nginx-bench.conf"),
  );
}

/** Debian's package, unpacked only: installed, it would serve this computer's port 80. */
async function installNginx(): Promise<string> {
  const folder = join(toolsFolder, "nginx");
  await makeOnce(folder, "nginx of Debian 12", async () => {
    const download = join(folder, "download");
    await mkdir(download, { recursive: true });
    const options = ["--quiet", "-o", "APT::Sandbox::User=root"];
    await runLogged(silentStep, "nginx", "apt-get", [...options, "update"]);
    await runLogged(silentStep, "nginx", "apt-get", [...options, "download", "nginx"], {
      cwd: download,
    });
    for (const file of await readdir(download)) {
      await runLogged(silentStep, "nginx", "dpkg-deb", ["-x", join(download, file), folder]);
    }
  });
  return join(folder, "usr", "sbin", "nginx");
}

const measures = [
  { key: "perSecond", title: "a second" },
  { key: "p50", title: "p50, ms" },
  { key: "p99", title: "p99, ms" },
  { key: "cpu", title: "CPU each, µs" },
] as const;

function valuesOf(
  samples: Sample[],
  front: Front,
  work: Work,
  key: (typeof measures)[number]["key"],
): number[] {
  return samples.filter((one) => one.front === front && one.work === work).map((one) => one[key]);
}

/** One row for each front at each kind of work. */
export function frontTable(samples: Sample[]): string[][] {
  return [
    ["", ...measures.map(({ title }) => title)],
    ...workNames.flatMap((work) => [
      [works[work].title],
      ...frontNames.map((front) => [
        `  ${fronts[front].title}`,
        ...measures.map(({ key }) => {
          const values = valuesOf(samples, front, work, key);
          return values.some(Number.isNaN) ? "-" : spreadText(spread(values));
        }),
      ]),
    ]),
  ];
}

/** One goal for each kind of work: throughput in terms of the best peer's, in each repeat. */
export function frontGoals(samples: Sample[]): Goal[] {
  return workNames.map((work) => {
    const best = peers
      .map((front) => ({ front, values: valuesOf(samples, front, work, "perSecond") }))
      .reduce((one, other) => (median(other.values) > median(one.values) ? other : one));
    const own = valuesOf(samples, "product", work, "perSecond");
    const ratios = spread(own.map((value, repeat) => value / (best.values[repeat] ?? NaN)));
    return {
      text: `${works[work].title}: at least ${promisedShare} of the best peer's throughput`,
      measured: `it is ${spreadText(ratios)} of ${fronts[best.front].title}'s`,
      met: ratios.median >= promisedShare,
    };
  });
}

function picture(samples: Sample[]): TopLevelSpec {
  const values = samples.flatMap((one) =>
    measures.map(({ key, title }) => ({
      front: fronts[one.front].title,
      work: works[one.work].title,
      measure: title,
      value: Number.isNaN(one[key]) ? null : one[key],
    })),
  );
  return {
    data: { values: values.filter(({ value }) => value !== null) },
    facet: {
      row: { field: "work", title: null, sort: workNames.map((work) => works[work].title) },
      column: { field: "measure", title: null, sort: measures.map(({ title }) => title) },
    },
    spec: {
      width: 180,
      height: 120,
      ...barsWithSpread(
        { field: "value", title: null },
        { field: "front", sort: Object.values(fronts).map(({ title }) => title) },
      ),
    },
    resolve: { scale: { x: "independent" } },
  } as TopLevelSpec;
}
