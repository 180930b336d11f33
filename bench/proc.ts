// What the kernel knows about one process: CPU time of all its threads and its memory, from /proc.
//
// CPU time comes in nanoseconds from task/*/schedstat. A thread that ends takes its figure with it,
// so the 10 ms ticks of /proc/PID/stat, which keep it, are read as well and win when the
// nanoseconds fall clearly short. Linux only; a process that is gone throws.

import { readdirSync, readFileSync } from 'node:fs';

/** CLK_TCK is 100 on every Linux platform Bun runs on. */
const nsPerTick = 10_000_000;
/** stat rounds both ends down to a tick, user and system each. */
const tickErrorNs = 4 * nsPerTick;

export interface CpuTime {
  ticksNs: number;
  threadNs: Map<string, number>;
}

export function cpuTime(pid: number): CpuTime {
  const threadNs = new Map<string, number>();
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1');
      threadNs.set(thread, Number(stat.split(' ')[0]));
    } catch {
      // The thread ended between the listing and the read, or the kernel has no schedstat.
    }
  }
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The second field is the program's name and may hold spaces: count from the last parenthesis.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { ticksNs: (Number(fields[11]) + Number(fields[12])) * nsPerTick, threadNs };
}

export function cpuMicroseconds(from: CpuTime, to: CpuTime): number {
  let ns = 0;
  for (const [thread, end] of to.threadNs) ns += end - (from.threadNs.get(thread) ?? 0);
  const ticksNs = to.ticksNs - from.ticksNs;
  return (ticksNs > ns + tickErrorNs ? ticksNs : ns) / 1_000;
}

export interface Memory {
  peakMiB: number;
  residentMiB: number;
  /** Heap, stacks: what a leak shows in. */
  anonMiB: number;
  /** Mapped files, the journal among them: the kernel's to take back. */
  fileMiB: number;
}

export function memory(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const mebibytes = (field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) / 1_024;
  return {
    peakMiB: mebibytes('VmHWM'),
    residentMiB: mebibytes('VmRSS'),
    anonMiB: mebibytes('RssAnon'),
    // A shared mapping of a file on tmpfs counts as shmem.
    fileMiB: mebibytes('RssFile') + mebibytes('RssShmem'),
  };
}
