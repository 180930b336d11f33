// What the kernel knows about a process, from /proc: leaks, whether it is stopped. Linux only, elsewhere undefined.

import { existsSync, readdirSync, readFileSync } from 'node:fs';

const isLinux = existsSync('/proc/self/status');

/** Descriptors that are open: files, sockets, all. */
export function openFiles(pid: number): number | undefined {
  return isLinux ? readdirSync(`/proc/${pid}/fd`).length : undefined;
}

/** Has SIGSTOP reached every thread? The signal is on its way to one that runs on another core. */
export function isStopped(pid: number): boolean {
  if (!isLinux) return true;
  try {
    return readdirSync(`/proc/${pid}/task`).every((thread) => {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1');
      return stat.slice(stat.lastIndexOf(')')).startsWith(') T ');
    });
  } catch {
    return false; // a thread ended meanwhile
  }
}

/** Resident memory without the mapped journal, which is the kernel's to take back: heap and stacks. */
export function anonymousMiB(pid: number): number | undefined {
  if (!isLinux) return undefined;
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;
}

/** Local ports of the TCP connections that some process of this machine has to 127.0.0.1:`port`. */
export function connectionsTo(port: number): Set<number> {
  if (!isLinux) return new Set();
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync('/proc/net/tcp', 'latin1').split('\n').slice(1);
  const ours = rows.map((row) => row.trim().split(/\s+/)).filter(([, , to]) => to === remote);
  return new Set(ours.map(([, from = '']) => Number.parseInt(from.split(':')[1] ?? '', 16)));
}
