// Where and with what a result was made: a figure without its commit, processor and versions cannot
// be compared with anything. Reads only; git is asked, never told.

import { cpus, loadavg, release } from 'node:os';
import kafkajs from 'kafkajs/package.json' with { type: 'json' };
import { pinning } from './cores.ts';

export interface Machine {
  date: string;
  commit: string;
  cpu: string;
  cores: number;
  kernel: string;
  /** Before the run: others at work on the machine show here. */
  loadAverage: number;
  pinned: boolean;
  bun: string;
  kafka: string;
  kafkajs: string;
  wrk: string;
}

export function machine(kafkaVersion: string): Machine {
  return {
    date: new Date().toISOString(),
    commit: commit(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    kernel: release(),
    loadAverage: loadavg()[0] ?? Number.NaN,
    pinned: pinning,
    bun: Bun.version,
    kafka: kafkaVersion,
    kafkajs: kafkajs.version,
    // `wrk --version` prints its usage below the version and exits 1.
    wrk: /\d+\.\d+\.\d+/.exec(output('wrk', '--version'))?.[0] ?? 'unknown',
  };
}

export function describe(machine: Machine): string {
  const cores = machine.pinned
    ? 'server on core 0, wrk and Kafka on core 1'
    : 'NOT PINNED (no taskset or one core): servers and load disturb each other';
  return [
    `commit ${machine.commit}, ${machine.date}`,
    `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, load before ${machine.loadAverage.toFixed(2)}; ${cores}`,
    `Bun ${machine.bun}, Kafka ${machine.kafka}, kafkajs ${machine.kafkajs}, wrk ${machine.wrk}`,
  ].join('\n');
}

function commit(): string {
  const hash = output('git', 'rev-parse', '--short', 'HEAD').trim();
  if (hash === '') return 'unknown';
  return output('git', 'status', '--porcelain') === '' ? hash : `${hash} with changes`;
}

function output(...command: string[]): string {
  try {
    const { stdout, stderr } = Bun.spawnSync(command, { cwd: import.meta.dir });
    return stdout.toString() || stderr.toString();
  } catch {
    // Not installed: a result without git is still a result.
    return '';
  }
}
