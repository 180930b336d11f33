// How long an answer takes at a given load: each variant at 25, 50 and 80 % of what it can do itself, in
// turns. Capacity is the median of three bursts of wrk; the rates are kept by load/open-loop, which
// charges a stall to every request that had to wait for it (no coordinated omission).

import { Entry, inTurn, type Outcome, settleMs } from './entry.ts';
import type { BenchKafka } from './kafka.ts';
import { type Latencies, prepareOpenLoop } from './open-loop.ts';
import { median } from './statistics.ts';
import type { Variant } from './variants.ts';

export const loadShares = [0.25, 0.5, 0.8] as const;
export type LoadShare = (typeof loadShares)[number];
const capacityBursts = 3;
const connections = 64;

export interface LatencyRow extends Outcome {
  /** Requests a second of the median burst. */
  capacity: number;
  /** A list a round, by share of the capacity. */
  rounds: Record<LoadShare, Latencies[]>;
}

export async function measureLatency(
  variants: readonly Variant[],
  kafka: BenchKafka,
  options: { rounds: number; seconds: number },
  dir: string,
  stack: AsyncDisposableStack,
): Promise<LatencyRow[]> {
  const obstacle = await prepareOpenLoop();
  if (obstacle !== undefined) throw new Error(`the load generator cannot be built: ${obstacle}`);
  const entries = await Entry.startAll(variants, kafka, dir, stack);
  const capacities = new Map<Entry, number>();
  const rounds = new Map<Entry, LatencyRow['rounds']>();
  for (const entry of entries) rounds.set(entry, { 0.25: [], 0.5: [], 0.8: [] });
  for (const entry of entries) {
    await entry.attempt(async (contestant) => {
      const rates: number[] = [];
      for (let left = capacityBursts; left > 0; left--) {
        const { requests, durationUs } = await contestant.load(1);
        rates.push(requests / (durationUs / 1e6));
      }
      capacities.set(entry, median(rates));
      await Bun.sleep(settleMs);
    });
  }
  for (let round = 0; round < options.rounds && !stack.disposed; round++) {
    for (const entry of inTurn(entries, round)) {
      await entry.attempt(async (contestant) => {
        for (const share of loadShares) {
          const rate = share * (capacities.get(entry) ?? 0);
          const load = { rate, seconds: options.seconds, connections };
          const { seconds: _, ...latencies } = await contestant.steadyLoad(load);
          rounds.get(entry)![share].push(latencies);
          await Bun.sleep(settleMs);
        }
      });
    }
    console.error(`latency: round ${round + 1} of ${options.rounds}`);
  }
  for (const entry of entries) await entry.finish(kafka);
  return entries.map((entry) => ({
    ...entry.outcome,
    capacity: capacities.get(entry) ?? 0,
    rounds: rounds.get(entry)!,
  }));
}
