// What producers count, alone or together: all begins at nought, and what may be twice is what the
// deviations say, whoever notes them.

import { expect, test } from 'bun:test';
import { Deviations } from '../../src/kafka/deviations.ts';
import { noCounts } from '../../src/kafka/producer-counters.ts';
import { batchOf } from '../support/sealed-batch.ts';

test('nothing is counted at first, and what may be twice is counted by the deviations', () => {
  const deviations = new Deviations(() => {});
  const { refusals, ...counts } = noCounts(deviations);
  expect(new Set(Object.values(counts))).toEqual(new Set([0]));
  expect(refusals.size).toBe(0);
  const counters = noCounts(deviations);
  deviations.note('may be twice', 'sent with acks=1', batchOf(['a', 'b']));
  expect(counters.possiblyDuplicated).toBe(2);
});
