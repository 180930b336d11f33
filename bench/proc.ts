// What the kernel knows about a server: CPU time of all its threads and its memory, from /proc. A server
// of several processes is all of them: the one that was started and its descendants.
//
// CPU time comes in nanoseconds from task/*/schedstat. A thread that ends takes its figure with it,
// so the 10 ms ticks of /proc/PID/stat, which keep it, are read as well and win when the
// nanoseconds fall clearly short. Linux only; a process that is gone throws.

import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** CLK_TCK is 100 on every Linux platform Bun runs on. */
const nsPerTick = 10_000_000;
/** stat rounds both ends down to a tick, user and system each. */
const tickErrorNs = 4 * nsPerTick;

export interface ProcessTime {
  ticksNs: number;
  threadNs: Map<string, number>;
}

/** By pid. */
export type CpuTime = ReadonlyMap<number, ProcessTime>;

/** A process and its descendants; those that end meanwhile are left out. */
export function processesOf(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
    const listed = readOrNothing(`/proc/${pid}/task/${thread}/children`);
    return listed.trim().split(' ').filter(Boolean).map(Number);
  });
  return [
    pid,
    ...children.flatMap((child) => (existsSync(`/proc/${child}`) ? processesOf(child) : [])),
  ];
}

export function cpuTime(pid: number): CpuTime {
  return new Map(processesOf(pid).map((each) => [each, processTime(each)]));
}

function processTime(pid: number): ProcessTime {
  const threadNs = new Map<string, number>();
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    // Nothing where the thread ended between the listing and the read, or the kernel has no schedstat.
    const stat = readOrNothing(`/proc/${pid}/task/${thread}/schedstat`);
    if (stat !== '') threadNs.set(thread, Number(stat.split(' ')[0]));
  }
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The second field is the program's name and may hold spaces: count from the last parenthesis.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { ticksNs: (Number(fields[11]) + Number(fields[12])) * nsPerTick, threadNs };
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** Of all processes together. */
export function cpuMicroseconds(from: CpuTime, to: CpuTime): number {
  return cpuByProcess(from, to).reduce((sum, us) => sum + us, 0);
}

/** Of each process, in the order they were started in. */
export function cpuByProcess(from: CpuTime, to: CpuTime): number[] {
  return [...to].map(([pid, end]) => {
    const start = from.get(pid) ?? { ticksNs: 0, threadNs: new Map<string, number>() };
    let ns = 0;
    for (const [thread, endNs] of end.threadNs) ns += endNs - (start.threadNs.get(thread) ?? 0);
    const ticksNs = end.ticksNs - start.ticksNs;
    return (ticksNs > ns + tickErrorNs ? ticksNs : ns) / 1_000;
  });
}

export interface Memory {
  peakMiB: number;
  residentMiB: number;
  /** Heap, stacks: what a leak shows in. */
  anonMiB: number;
  /** Mapped files, the journal among them: the kernel's to take back. */
  fileMiB: number;
}

/** Of all processes together; what they share is counted for each. */
export function memory(pid: number): Memory {
  const total = { peakMiB: 0, residentMiB: 0, anonMiB: 0, fileMiB: 0 };
  for (const each of processesOf(pid)) {
    const status = readFileSync(`/proc/${each}/status`, 'latin1');
    const mebibytes = (field: string) =>
      Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) / 1_024;
    total.peakMiB += mebibytes('VmHWM');
    total.residentMiB += mebibytes('VmRSS');
    total.anonMiB += mebibytes('RssAnon');
    // A shared mapping of a file on tmpfs counts as shmem.
    total.fileMiB += mebibytes('RssFile') + mebibytes('RssShmem');
  }
  return total;
}
