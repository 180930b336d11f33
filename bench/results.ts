// What a run has measured, as --json writes it and the page, the budgets and the table of scale read it.
// Several files are one result where each has other modes; of the same mode the last one counts.

import type { BurstRow } from './bursts.ts';
import type { BacklogRow, ConnectionsRow } from './growth.ts';
import type { IdleRow } from './idle.ts';
import type { LatencyRow } from './latency.ts';
import type { Machine } from './machine.ts';
import type { MemoryRow } from './memory.ts';
import type { OutageRow } from './outage.ts';
import type { ShippingRow } from './shipping.ts';

interface Repeated {
  rounds: number;
  seconds: number;
}

/** By the name of the mode. */
export interface Sections {
  bursts: Repeated & { load: string; rows: BurstRow[] };
  workers: Repeated & { load: string; rows: BurstRow[] };
  steps: Repeated & { load: string; rows: BurstRow[] };
  latency: Repeated & { rows: LatencyRow[] };
  outage: { rate: number; seconds: number; rows: OutageRow[] };
  connections: Repeated & { rows: ConnectionsRow[] };
  backlog: Repeated & { rows: BacklogRow[] };
  memory: { seconds: number; rows: MemoryRow[] };
  idle: { seconds: number; rows: IdleRow[] };
  shipping: { rounds: number; rows: ShippingRow[] };
}

export type ModeName = keyof Sections;

export interface Results {
  machine: Machine;
  sections: Partial<Sections>;
}

export async function readResults(paths: readonly string[]): Promise<Results> {
  const all = await Promise.all(paths.map((path) => Bun.file(path).json() as Promise<Results>));
  const [first] = all;
  if (!first || all.some(({ sections }) => sections === undefined)) {
    throw new Error(`no result of this benchmark: ${paths.join(', ')}`);
  }
  const commits = new Set(all.map(({ machine }) => machine.commit));
  if (commits.size > 1) console.error(`results of several commits: ${[...commits].join(', ')}`);
  return {
    machine: all.at(-1)!.machine,
    sections: Object.assign({}, ...all.map(({ sections }) => sections)) as Partial<Sections>,
  };
}
