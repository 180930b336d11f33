// What the kernel knows about a process that a leak shows in, from /proc: Linux only, elsewhere undefined.

import { existsSync, readdirSync, readFileSync } from 'node:fs';

const isLinux = existsSync('/proc/self/status');

/** Descriptors that are open: files, sockets, all. */
export function openFiles(pid: number): number | undefined {
  return isLinux ? readdirSync(`/proc/${pid}/fd`).length : undefined;
}

/** Resident memory without the mapped journal, which is the kernel's to take back: heap and stacks. */
export function anonymousMiB(pid: number): number | undefined {
  if (!isLinux) return undefined;
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;
}
