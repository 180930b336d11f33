// What grows in production, and whether a request costs more with it: connections, and the backlog in
// the journal while Kafka is away. (Links, which will grow too, do not exist yet.)
//
// Connections are opened by each burst, so its figure holds their share of accepting; bare pays the
// same. The backlog is filled by load itself, with Kafka killed; at its greatest the server is killed as
// well and started again, and then Kafka: how soon does it serve, how fast does the backlog arrive?

import { readFileSync } from 'node:fs';
import { waitFor } from '../test/support/wait-for.ts';
import { measureBurst, measureRound, type Round } from './bursts.ts';
import { Contestant, freePort } from './contestant.ts';
import { Entry, inTurn, newOutcome, type Outcome, settle, settleMs } from './entry.ts';
import type { BenchKafka } from './kafka.ts';
import type { Variant } from './variants.ts';
import { shapes } from './wrk.ts';

export const connectionCounts = [1, 64, 1_000, 10_000] as const;
/** Files a process has open besides its connections. */
const otherFiles = 200;

export interface ConnectionsRow extends Outcome {
  counts: {
    connections: number;
    rounds: Round[];
    /** Why it was not measured. */
    skipped: string | null;
  }[];
}

export interface GrowthOptions {
  rounds: number;
  seconds: number;
}

export async function measureConnections(
  variants: readonly Variant[],
  kafka: BenchKafka,
  { rounds, seconds }: GrowthOptions,
  dir: string,
  stack: AsyncDisposableStack,
): Promise<ConnectionsRow[]> {
  const entries = await Entry.startAll(variants, kafka, dir, stack);
  const openFilesMax = Number(
    /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1] ?? 1_024,
  );
  const counts = new Map(entries.map((entry) => [entry, [] as ConnectionsRow['counts']]));
  for (const connections of connectionCounts) {
    const fits = connections + otherFiles <= openFilesMax;
    const skipped = fits ? null : `a process may have ${openFilesMax} files open (ulimit -n)`;
    if (skipped !== null) console.error(`growth: ${connections} connections left out: ${skipped}`);
    for (const own of counts.values()) own.push({ connections, rounds: [], skipped });
    const shape = { ...shapes.keepAlive, connections };
    for (let round = 0; round < (fits ? rounds : 0) && !stack.disposed; round++) {
      for (const entry of inTurn(entries, round)) {
        await entry.attempt(async (contestant) => {
          const measured = await measureRound(contestant, kafka, { seconds, shape });
          counts.get(entry)!.at(-1)!.rounds.push(measured);
        });
      }
    }
    console.error(`growth: ${connections} connections`);
  }
  for (const entry of entries) await entry.finish(kafka);
  return entries.map((entry) => ({ ...entry.outcome, counts: counts.get(entry)! }));
}

/** Of the backlog that is asked for. */
const backlogShares = [0, 0.25, 0.5, 1] as const;
const fillSeconds = 2;
const drainMaxMs = 180_000;
const MIB = 2 ** 20;

export interface BacklogRow extends Outcome {
  steps: { backlogMiB: number; rounds: Round[] }[];
  /** Started again after SIGKILL with all of it: until the first answer. */
  servingMs: number | null;
  drain: { backlogMiB: number; seconds: number } | null;
}

export async function measureBacklog(
  variant: Variant,
  kafka: BenchKafka,
  { rounds, seconds, backlogMiB }: GrowthOptions & { backlogMiB: number },
  dir: string,
  stack: AsyncDisposableStack,
): Promise<BacklogRow> {
  const row: BacklogRow = { ...newOutcome(variant), steps: [], servingMs: null, drain: null };
  const adminPort = freePort();
  const roomy = {
    ADMIN_PORT: `${adminPort}`,
    JOURNAL_BYTES: `${Math.ceil(backlogMiB * 1.5 + 512)}MiB`,
  };
  const grown: Variant = { ...variant, env: (own) => ({ ...variant.env(own), ...roomy }) };
  const start = () => Contestant.start(stack, grown, kafka.brokers, dir);
  let contestant = start();
  try {
    await contestant.ready();
    await adminAnswers(adminPort);
    await contestant.load(fillSeconds);
    await Bun.sleep(settleMs);
    await kafka.kill();
    for (const share of backlogShares) {
      await fill(contestant, adminPort, share * backlogMiB * MIB);
      const step = { backlogMiB: (await backlogBytes(adminPort)) / MIB, rounds: [] as Round[] };
      row.steps.push(step);
      for (let round = 0; round < rounds; round++) {
        step.rounds.push(await measureBurst(contestant, { seconds, shape: shapes.keepAlive }));
      }
      console.error(`growth: ${step.backlogMiB.toFixed(0)} MiB of backlog`);
    }
    row.peakMiB = contestant.memory().peakMiB;
    await contestant.kill();
    const { answered, unknown } = contestant;
    const killedAt = performance.now();
    contestant = start();
    contestant.answered = answered;
    contestant.unknown = unknown;
    await contestant.ready();
    row.servingMs = performance.now() - killedAt;
    await adminAnswers(adminPort);
    row.drain = await drain(kafka, adminPort);
    row.failure = await contestant.stop();
  } catch (error) {
    row.failure = (error as Error).message;
    await contestant.kill();
  }
  if (!stack.disposed) {
    if (!kafka.running) await kafka.restart();
    await settle(row, contestant, kafka);
  }
  return row;
}

async function fill(contestant: Contestant, adminPort: number, bytes: number): Promise<void> {
  for (let last = -1; ;) {
    const now = await backlogBytes(adminPort);
    if (now >= bytes) return;
    if (now <= last) throw new Error(`the backlog stays at ${(now / MIB).toFixed(0)} MiB`);
    last = now;
    await contestant.load(fillSeconds);
  }
}

async function drain(kafka: BenchKafka, adminPort: number): Promise<BacklogRow['drain']> {
  const backlogMiB = (await backlogBytes(adminPort)) / MIB;
  await kafka.restart();
  const backAt = performance.now();
  while ((await backlogBytes(adminPort)) > 0) {
    if (performance.now() > backAt + drainMaxMs) {
      throw new Error(`the backlog was not in Kafka after ${drainMaxMs / 1_000} s`);
    }
    await Bun.sleep(50);
  }
  return { backlogMiB, seconds: (performance.now() - backAt) / 1_000 };
}

/** A crew answers visitors before its admin port does, and has figures a little later still. */
async function adminAnswers(adminPort: number): Promise<void> {
  await waitFor(async () => (await backlogBytes(adminPort)) >= 0, {
    timeoutMs: 10_000,
    what: 'the admin port',
  });
}

async function backlogBytes(adminPort: number): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${adminPort}/metrics`);
  const value = /^hoplog_journal_backlog_bytes(?:\{.*\})? (\S+)$/m.exec(await response.text())?.[1];
  if (value === undefined) throw new Error('it has no journal: no hoplog_journal_backlog_bytes');
  return Number(value);
}
