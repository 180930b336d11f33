// What producers count, one alone or several together.

import type { Deviations } from './deviations.ts';

export interface ProducerCounters {
  acknowledged: number;
  /** Those of which Kafka acknowledged at least a part. */
  acknowledgedBatches: number;
  alreadyDelivered: number;
  /** Records left out one by one because no broker takes them, whether put aside or lost. */
  oversize: number;
  /** Records sent again that may be in the log twice: nobody could tell whether they arrived. */
  readonly possiblyDuplicated: number;
  /** Batches, or parts of one, sent again by the process that sent them before. */
  retries: number;
  /** Refusals by Kafka's error name. */
  readonly refusals: Map<string, number>;
}

export function noCounts(deviations: Deviations): ProducerCounters {
  return {
    acknowledged: 0,
    acknowledgedBatches: 0,
    alreadyDelivered: 0,
    oversize: 0,
    get possiblyDuplicated() {
      return deviations.total('may be twice');
    },
    retries: 0,
    refusals: new Map(),
  };
}
