// Kafka killed (SIGKILL) under steady load, and started again: what do the clients notice, and what
// becomes of the records? One variant at a time, all at the same rate, in four phases of equal length:
// before, down, restart (Kafka's start takes CPU from the generator's core, so its latencies are not the
// server's alone), after. Catching up begins the moment Kafka is back.
// A variant without a journal may lose records here; its row says how many.

import { Contestant } from './contestant.ts';
import { newOutcome, type Outcome, settle, settleMs } from './entry.ts';
import type { BenchKafka } from './kafka.ts';
import { type Latencies, prepareOpenLoop } from './open-loop.ts';
import type { Variant } from './variants.ts';

const connections = 64;
const warmUpSeconds = 3;
const sampleMs = 20;
/** From Kafka's return until its backlog must have arrived; a log that gave up never gets there. */
const catchUpMaxMs = 60_000;

export const phases = ['before', 'down', 'restart', 'after'] as const;
export type Phase = (typeof phases)[number];

export interface CatchUp {
  /** What had been answered and was not in Kafka when it was back. */
  backlog: number;
  /** Until the first of it arrived. */
  waitedMs: number;
  /** From then until as many had arrived; null where that never happened. */
  tookMs: number | null;
}

export interface OutageRow extends Outcome {
  /** Second by second. */
  timeline: (Latencies & { phase: Phase })[];
  catchUp: CatchUp | null;
}

export interface OutageOptions {
  /** Requests a second. */
  rate: number;
  /** Of each phase. */
  seconds: number;
}

export async function measureOutage(
  variants: readonly Variant[],
  kafka: BenchKafka,
  options: OutageOptions,
  dir: string,
  stack: AsyncDisposableStack,
): Promise<OutageRow[]> {
  const obstacle = await prepareOpenLoop();
  if (obstacle !== undefined) throw new Error(`the load generator cannot be built: ${obstacle}`);
  const rows: OutageRow[] = [];
  for (const variant of variants) {
    if (stack.disposed) break;
    console.error(`outage: ${variant.name}`);
    const row: OutageRow = { ...newOutcome(variant), timeline: [], catchUp: null };
    rows.push(row);
    let contestant: Contestant | undefined;
    try {
      const missing = await variant.prepare();
      if (missing !== undefined) throw new Error(`cannot run here: ${missing}`);
      contestant = Contestant.start(stack, variant, kafka.brokers, dir);
      await goThrough(row, contestant, kafka, options);
    } catch (error) {
      row.failure = (error as Error).message;
    }
    if (stack.disposed) break;
    if (!kafka.running) await kafka.restart();
    const problem = await contestant?.stop();
    row.failure ??= problem ?? null;
    if (contestant) await settle(row, contestant, kafka);
  }
  return rows;
}

async function goThrough(
  row: OutageRow,
  contestant: Contestant,
  kafka: BenchKafka,
  { rate, seconds }: OutageOptions,
): Promise<void> {
  await contestant.ready();
  await contestant.steadyLoad({ rate, seconds: warmUpSeconds, connections });
  await Bun.sleep(settleMs);
  const load = async (phase: Phase): Promise<void> => {
    const { seconds: each } = await contestant.steadyLoad({ rate, seconds, connections });
    row.timeline.push(...each.map((second) => ({ ...second, phase })));
  };
  await load('before');
  await kafka.kill();
  await load('down');
  const answeredBefore = contestant.answered;
  const began = performance.now();
  const watching = kafka.restart().then(() => {
    if (contestant.variant.log !== 'kafka') return undefined;
    const duringRestart = Math.min(seconds, (performance.now() - began) / 1_000) * rate;
    return watchCatchUp(row, contestant, kafka, answeredBefore + Math.round(duringRestart));
  });
  // The load of a phase may fail while Kafka is still on its way.
  const [loaded] = await Promise.allSettled([load('restart'), watching]);
  await watching;
  if (loaded.status === 'rejected') throw loaded.reason;
  await load('after');
  row.peakMiB = contestant.memory().peakMiB;
  await contestant.ready();
}

/** @param answered how many requests had been by the time Kafka was back */
async function watchCatchUp(
  row: OutageRow,
  contestant: Contestant,
  kafka: BenchKafka,
  answered: number,
): Promise<void> {
  const backAt = performance.now();
  const arrivedBefore = await contestant.records(kafka);
  const catchUp: CatchUp = { backlog: answered - arrivedBefore, waitedMs: 0, tookMs: null };
  row.catchUp = catchUp;
  let firstAt: number | undefined;
  while (performance.now() < backAt + catchUpMaxMs) {
    const sampledAt = performance.now();
    const arrived = await contestant.records(kafka);
    if (arrived === arrivedBefore) catchUp.waitedMs = sampledAt - backAt;
    else firstAt ??= backAt + catchUp.waitedMs;
    if (firstAt !== undefined && arrived >= answered) {
      catchUp.tookMs = performance.now() - firstAt;
      return;
    }
    await Bun.sleep(sampleMs);
  }
}
