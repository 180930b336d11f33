// The main measurement: all variants run side by side, one of them under full load at a time and the
// others stopped, in short bursts taken in turns, so that whatever the machine does meanwhile hits all
// of them alike.
//
// CPU time is taken from the start of a burst to 1.5 s after it. Logs flush once a second, so the
// settle holds the tail that belongs to the burst; it is the same for every variant, also for those
// without a log. A variant that fails is left out from then on and its row says why.

import { Contestant } from './contestant.ts';
import { delivery, type Delivery } from './delivery.ts';
import type { BenchKafka } from './kafka.ts';
import { cpuMicroseconds } from './proc.ts';
import type { Variant } from './variants.ts';

const warmUpSeconds = 3;
const settleMs = 1_500;

export interface Round {
  requests: number;
  requestsPerSecond: number;
  /** CPU of the server process, all threads, burst and settle. */
  cpuUsPerRequest: number;
  /** Share of its core the server had during the burst alone; well below 1 = it was not the limit. */
  busy: number;
  /** Every record so far was in Kafka when the clock stopped: the flush is in the figure. */
  flushed: boolean;
  /** Right after the burst: idle, a server gives memory back. */
  anonMiB: number;
  p50Us: number;
  p99Us: number;
}

export interface Row {
  variant: string;
  failure: string | null;
  /** One entry a round, in order; null where the variant had failed. */
  rounds: (Round | null)[];
  peakMiB: number | null;
  answered: number;
  unknown: number;
  records: number | null;
  delivery: Delivery | null;
}

export async function measureBursts(
  variants: Variant[],
  kafka: BenchKafka,
  options: { rounds: number; seconds: number },
  dir: string,
  stack: AsyncDisposableStack,
): Promise<Row[]> {
  const runs = variants.map((variant) => new Run(variant));
  for (const run of runs) {
    await run.attempt(async () => {
      const obstacle = await run.variant.prepare();
      if (obstacle !== undefined) throw new Error(`cannot run here: ${obstacle}`);
      const contestant = Contestant.start(stack, run.variant, kafka.brokers, dir);
      run.contestant = contestant;
      await contestant.ready();
      await contestant.load(warmUpSeconds);
      await Bun.sleep(settleMs);
      contestant.pause();
    });
  }
  for (let round = 0; round < options.rounds; round++) {
    // Cut short: everybody is being ended, and would only be reported as failed.
    if (stack.disposed) break;
    for (const run of inTurn(runs, round)) {
      run.row.rounds[round] = null;
      await run.attempt(async () => {
        if (!run.contestant) return;
        run.contestant.resume();
        run.row.rounds[round] = await measureRound(run.contestant, kafka, options.seconds);
        run.contestant.pause();
      });
    }
    if (!stack.disposed) progress(`round ${round + 1} of ${options.rounds}`, runs, round);
  }
  for (const run of runs) await run.finish(kafka);
  return runs.map((run) => run.row);
}

/** Each variant takes each place equally often; every other pass goes backwards, so that no variant
 *  always comes after the same one. */
export function inTurn<T>(all: readonly T[], round: number): T[] {
  const start = round % Math.max(1, all.length);
  const order = [...all.slice(start), ...all.slice(0, start)];
  return Math.floor(round / all.length) % 2 === 0 ? order : order.toReversed();
}

async function measureRound(
  contestant: Contestant,
  kafka: BenchKafka,
  seconds: number,
): Promise<Round> {
  const before = contestant.cpuTime();
  const burst = await contestant.load(seconds);
  const after = contestant.cpuTime();
  const { anonMiB } = contestant.memory();
  await Bun.sleep(settleMs);
  const settled = contestant.cpuTime();
  const { variant, answered } = contestant;
  const flushed = variant.log === 'none' || (await contestant.records(kafka)) >= answered;
  return {
    requests: burst.requests,
    requestsPerSecond: burst.requests / (burst.durationUs / 1e6),
    cpuUsPerRequest: cpuMicroseconds(before, settled) / burst.requests,
    busy: cpuMicroseconds(before, after) / burst.durationUs,
    flushed,
    anonMiB,
    p50Us: burst.p50Us,
    p99Us: burst.p99Us,
  };
}

class Run {
  readonly variant: Variant;
  readonly row: Row;
  contestant: Contestant | undefined;

  constructor(variant: Variant) {
    this.variant = variant;
    this.row = {
      variant: variant.name,
      failure: null,
      rounds: [],
      peakMiB: null,
      answered: 0,
      unknown: 0,
      records: null,
      delivery: null,
    };
  }

  async attempt(step: () => Promise<void>): Promise<void> {
    if (this.row.failure !== null) return;
    try {
      await step();
    } catch (error) {
      this.row.failure = (error as Error).message;
      await this.contestant?.stop();
    }
  }

  async finish(kafka: BenchKafka): Promise<void> {
    const { contestant, row, variant } = this;
    if (!contestant) return;
    contestant.resume();
    await this.attempt(async () => {
      // Still the right answer? wrk looks at nothing but statuses above 399.
      await contestant.ready();
      row.peakMiB = contestant.memory().peakMiB;
      const problem = await contestant.stop();
      if (problem !== null) throw new Error(problem);
    });
    row.answered = contestant.answered;
    row.unknown = contestant.unknown;
    row.records = await contestant.records(kafka);
    if (row.answered > 0) row.delivery = delivery(variant.log !== 'none', row, row.records);
  }
}

function progress(label: string, runs: Run[], round: number): void {
  const figures = runs.map(({ row }) => {
    const cpu = row.rounds[round]?.cpuUsPerRequest;
    return `${row.variant} ${cpu === undefined ? 'failed' : `${cpu.toFixed(2)} µs`}`;
  });
  console.error(`${label}: ${figures.join(', ')}`);
}
