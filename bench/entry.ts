// One variant's part in a run in which all run side by side and one at a time is under load: it is
// started, warmed up, stopped (SIGSTOP) whenever it is not its turn, and ended with the account of its
// records. A variant that fails is left out from then on, and its outcome says why.

import { Contestant } from './contestant.ts';
import { delivery, type Delivery } from './delivery.ts';
import type { BenchKafka } from './kafka.ts';
import { topicOf, type Variant } from './variants.ts';

const warmUpSeconds = 3;
/** Holds the last flush of a log with a second of linger. */
export const settleMs = 1_500;

export interface Outcome {
  variant: string;
  failure: string | null;
  peakMiB: number | null;
  answered: number;
  unknown: number;
  records: number | null;
  delivery: Delivery | null;
  /** Of a record in Kafka, batch headers and compression included; null where none is there. */
  recordBytes: number | null;
}

export function newOutcome(variant: Variant): Outcome {
  return {
    variant: variant.name,
    failure: null,
    peakMiB: null,
    answered: 0,
    unknown: 0,
    records: null,
    delivery: null,
    recordBytes: null,
  };
}

/** The account of a contestant that has ended. */
export async function settle(
  outcome: Outcome,
  contestant: Contestant,
  kafka: BenchKafka,
): Promise<void> {
  const { variant } = contestant;
  outcome.answered = contestant.answered;
  outcome.unknown = contestant.unknown;
  outcome.records = await contestant.records(kafka);
  if (variant.log === 'kafka' && outcome.records > 0) {
    outcome.recordBytes = kafka.logBytes(topicOf(variant)) / outcome.records;
  }
  if (outcome.answered === 0) return;
  outcome.delivery = delivery(variant.log !== 'none', outcome, outcome.records);
}

export class Entry {
  readonly variant: Variant;
  readonly outcome: Outcome;
  #contestant: Contestant | undefined;

  /** All started and warmed up, one after the other. */
  static async startAll(
    variants: readonly Variant[],
    kafka: BenchKafka,
    dir: string,
    stack: AsyncDisposableStack,
  ): Promise<Entry[]> {
    const entries = variants.map((variant) => new Entry(variant));
    for (const entry of entries) await entry.#start(kafka, dir, stack);
    return entries;
  }

  private constructor(variant: Variant) {
    this.variant = variant;
    this.outcome = newOutcome(variant);
  }

  /** Its turn, unless it has failed before. */
  async attempt(step: (contestant: Contestant) => Promise<void>): Promise<void> {
    const contestant = this.#contestant;
    if (this.outcome.failure !== null || !contestant) return;
    contestant.resume();
    await this.#orFail(() => step(contestant));
    contestant.pause();
  }

  async finish(kafka: BenchKafka): Promise<void> {
    const contestant = this.#contestant;
    if (!contestant) return;
    const { outcome } = this;
    await this.attempt(async () => {
      // Still the right answer? wrk looks at nothing but statuses above 399.
      await contestant.ready();
      outcome.peakMiB = contestant.memory().peakMiB;
      const problem = await contestant.stop();
      if (problem !== null) throw new Error(problem);
    });
    await settle(outcome, contestant, kafka);
  }

  async #start(kafka: BenchKafka, dir: string, stack: AsyncDisposableStack): Promise<void> {
    await this.#orFail(async () => {
      const obstacle = await this.variant.prepare();
      if (obstacle !== undefined) throw new Error(`cannot run here: ${obstacle}`);
      this.#contestant = Contestant.start(stack, this.variant, kafka.brokers, dir);
    });
    await this.attempt(async (contestant) => {
      await contestant.ready();
      await contestant.load(warmUpSeconds);
      await Bun.sleep(settleMs);
    });
  }

  async #orFail(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.outcome.failure = (error as Error).message;
      await this.#contestant?.stop();
    }
  }
}

/**
 * Each takes each place equally often; every other pass goes backwards, so that none always comes after
 * the same one.
 */
export function inTurn<T>(all: readonly T[], round: number): T[] {
  const start = round % Math.max(1, all.length);
  const order = [...all.slice(start), ...all.slice(0, start)];
  return Math.floor(round / all.length) % 2 === 0 ? order : order.toReversed();
}
