import { cpuCounter, hierarchies, limitFiles, weightFiles } from "../../local/region/controlGroups";

/** One core and 2 GiB: c7a.medium. */
const limits = { cores: 1, memory: 2 ** 31 };

const version1 = `
22 27 0:20 / /proc rw,relatime - proc proc rw
30 29 0:25 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
31 29 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
32 29 0:27 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
33 29 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`;
const version2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

test("both versions of control groups are found where they are mounted", () => {
  expect(hierarchies(version1).map(({ path, version }) => [path, version])).toEqual([
    ["/sys/fs/cgroup/cpu", 1],
    ["/sys/fs/cgroup/memory", 1],
    ["/sys/fs/cgroup/systemd", 1],
    ["/sys/fs/cgroup/unified", 2],
  ]);
  expect(hierarchies(version2).map(({ path }) => path)).toEqual(["/sys/fs/cgroup"]);
});

test("a machine gets its type's cores and memory, in each version's words", () => {
  const files = (mountInfo: string): Record<string, string>[] =>
    hierarchies(mountInfo).map((hierarchy) => limitFiles(hierarchy, limits));
  expect(files(version1).slice(0, 3)).toEqual([
    { "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000" },
    { "memory.limit_in_bytes": "2147483648" },
    {},
  ]);
  expect(files(version2)).toEqual([{ "cpu.max": "100000 100000", "memory.max": "2147483648" }]);
});

test("all machines together weigh as much as two of this computer's programs", () => {
  const files = (mountInfo: string): Record<string, string>[] =>
    hierarchies(mountInfo).map((hierarchy) => weightFiles(hierarchy));
  expect(files(version1).slice(0, 3)).toEqual([{ "cpu.shares": String(2 * 1024) }, {}, {}]);
  expect(files(version2)).toEqual([{ "cpu.weight": String(2 * 100) }]);
});

describe("the CPU time of a machine", () => {
  test("is counted by version 2, whose controllers may be elsewhere", () => {
    const counter = cpuCounter({ path: "/sys/fs/cgroup", version: 2, controllers: ["rw"] });
    expect(counter?.file).toBe("cpu.stat");
    expect(counter?.seconds("usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n")).toBe(1.5);
  });

  test("is counted by the one hierarchy of version 1 that is for that", () => {
    const hierarchy = { path: "/sys/fs/cgroup/cpu,cpuacct", version: 1 } as const;
    const counter = cpuCounter({ ...hierarchy, controllers: ["rw", "cpu", "cpuacct"] });
    expect(counter?.file).toBe("cpuacct.usage");
    expect(counter?.seconds("1500000000\n")).toBe(1.5);
    expect(cpuCounter({ ...hierarchy, controllers: ["rw", "memory"] })).toBeUndefined();
  });
});
