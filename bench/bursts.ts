// The main measurement: short bursts of full load, taken in turns, so that whatever the machine does
// meanwhile hits all variants alike.
//
// CPU time is taken from the start of a burst to 1.5 s after it. Logs flush once a second, so the
// settle holds the tail that belongs to the burst; it is the same for every variant, also for those
// without a log.

import type { Contestant } from './contestant.ts';
import { Entry, inTurn, type Outcome, settleMs } from './entry.ts';
import type { BenchKafka } from './kafka.ts';
import { cpuByProcess, cpuMicroseconds } from './proc.ts';
import type { Variant } from './variants.ts';
import type { LoadShape } from './wrk.ts';

/**
 * Of the same load right before a burst, not measured. A server that was stopped for the turns of all others
 * has lost code: JSC and V8 throw away what was compiled and not run for a while. In one run, with turns 30 s
 * apart: hoplog's click 1.87 × bare without, 1.71 with; bare 1.01 × itself.
 */
const recallSeconds = 1;

export interface Round {
  requests: number;
  requestsPerSecond: number;
  /** CPU of the server process, all threads, burst and settle. */
  cpuUsPerRequest: number;
  /** The same of each of its processes, in the order they were started in. */
  processCpuUs: number[];
  /** Share of its core the server had during the burst alone; well below 1 = it was not the limit. */
  busy: number;
  /** Every record so far was in Kafka when the clock stopped: the flush is in the figure. */
  flushed: boolean;
  /** Right after the burst: idle, a server gives memory back. */
  anonMiB: number;
  p50Us: number;
  p99Us: number;
}

export interface BurstRow extends Outcome {
  /** One entry a round, in order; null where the variant had failed. */
  rounds: (Round | null)[];
}

export interface BurstOptions {
  rounds: number;
  seconds: number;
  shape: LoadShape;
}

export async function measureBursts(
  variants: readonly Variant[],
  kafka: BenchKafka,
  options: BurstOptions,
  dir: string,
  stack: AsyncDisposableStack,
): Promise<BurstRow[]> {
  const entries = await Entry.startAll(variants, kafka, dir, stack);
  const rounds = new Map(entries.map((entry) => [entry, [] as (Round | null)[]]));
  for (let round = 0; round < options.rounds; round++) {
    // Cut short: everybody is being ended, and would only be reported as failed.
    if (stack.disposed) break;
    for (const entry of inTurn(entries, round)) {
      const own = rounds.get(entry)!;
      own[round] = null;
      await entry.attempt(async (contestant) => {
        own[round] = await measureRound(contestant, kafka, options);
      });
    }
    if (!stack.disposed) {
      const figures = entries.map((entry) => {
        const cpu = rounds.get(entry)![round]?.cpuUsPerRequest;
        return `${entry.variant.name} ${cpu === undefined ? 'failed' : `${cpu.toFixed(2)} µs`}`;
      });
      console.error(`round ${round + 1} of ${options.rounds}: ${figures.join(', ')}`);
    }
  }
  for (const entry of entries) await entry.finish(kafka);
  return entries.map((entry) => ({ ...entry.outcome, rounds: rounds.get(entry)! }));
}

export async function measureRound(
  contestant: Contestant,
  kafka: BenchKafka,
  options: Pick<BurstOptions, 'seconds' | 'shape'>,
): Promise<Round> {
  const round = await measureBurst(contestant, options);
  const { variant, answered } = contestant;
  if (variant.log !== 'none') round.flushed = (await contestant.records(kafka)) >= answered;
  return round;
}

/** A round of which nobody has looked whether its records have arrived. */
export async function measureBurst(
  contestant: Contestant,
  { seconds, shape }: Pick<BurstOptions, 'seconds' | 'shape'>,
): Promise<Round> {
  await contestant.load(recallSeconds, shape);
  const before = contestant.cpuTime();
  const burst = await contestant.load(seconds, shape);
  const after = contestant.cpuTime();
  const { anonMiB } = contestant.memory();
  await Bun.sleep(settleMs);
  const settled = contestant.cpuTime();
  return {
    requests: burst.requests,
    requestsPerSecond: burst.requests / (burst.durationUs / 1e6),
    cpuUsPerRequest: cpuMicroseconds(before, settled) / burst.requests,
    processCpuUs: cpuByProcess(before, settled).map((us) => us / burst.requests),
    busy: cpuMicroseconds(before, after) / burst.durationUs,
    flushed: true,
    anonMiB,
    p50Us: burst.p50Us,
    p99Us: burst.p99Us,
  };
}
