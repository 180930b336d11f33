// A limit on what a process may keep in memory, page cache included: a control group of its own.
// Needs root and the memory controller of cgroup v1; `memoryLimitUnavailable` says why not.

import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';

const CONTROLLER = '/sys/fs/cgroup/memory';

export interface MemoryLimit extends Disposable {
  /** Runs the command behind it in the group. */
  readonly wrapper: readonly string[];
}

export function memoryLimit(bytes: number): MemoryLimit {
  const path = `${CONTROLLER}/hoplog-test-${process.pid}-${Math.random().toString(36).slice(2)}`;
  mkdirSync(path);
  writeFileSync(`${path}/memory.limit_in_bytes`, String(bytes));
  return {
    wrapper: ['sh', '-c', 'echo $$ > "$0/cgroup.procs" && exec "$@"', path],
    [Symbol.dispose]: () => rmdirSync(path),
  };
}

export function memoryLimitUnavailable(): string | undefined {
  if (!existsSync(`${CONTROLLER}/memory.limit_in_bytes`)) {
    return 'there is no memory controller of cgroup v1';
  }
  try {
    using _limit = memoryLimit(2 ** 30);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
