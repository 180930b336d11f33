// Which core does what: the server under test has one for itself, everything that makes load or
// takes records (wrk, Kafka, this program) shares the other. On that one Kafka steps back behind wrk
// (nice 10) and catches up in the settle after a burst: with equal shares it took wrk's time and the
// server was only 80 % busy (bun-kafkajs, 6 rounds), with this it is 96 %.
// On a machine without taskset or with one core nothing is pinned, and the table says so.

import { readdirSync } from 'node:fs';
import { availableParallelism, setPriority } from 'node:os';

const serverCore = 0;
const loadCore = 1;
const behindWrk = 10;

export const pinning = Bun.which('taskset') !== null && availableParallelism() > 1;

export function onServerCore(command: string[]): string[] {
  return pinned(serverCore, command);
}

export function onLoadCore(command: string[]): string[] {
  return pinned(loadCore, command);
}

/** taskset replaces itself by the command, so the pid of the spawned process is the command's. */
function pinned(core: number, command: string[]): string[] {
  return pinning ? ['taskset', '--cpu-list', `${core}`, ...command] : command;
}

/** Moves every thread of a running process; threads it starts later inherit the core. */
export function moveToLoadCore(pid: number): Promise<void> {
  return move(pid, `${loadCore}`);
}

/** Undoes it. */
export function moveToCores(pid: number): Promise<void> {
  return move(pid, `${serverCore},${loadCore}`);
}

async function move(pid: number, cores: string): Promise<void> {
  if (!pinning) return;
  const command = ['taskset', '--all-tasks', '--pid', '--cpu-list', cores, `${pid}`];
  await Bun.spawn(command, { stdout: 'ignore', stderr: 'ignore' }).exited;
}

/** Niceness belongs to a thread on Linux, so each gets it; threads started later inherit it. */
export function stepBack(pid: number): void {
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      setPriority(Number(thread), behindWrk);
    } catch {
      // Ended meanwhile.
    }
  }
}
