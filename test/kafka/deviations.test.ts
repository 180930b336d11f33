// The one place through which goes what is not exactly once: counted in records, apart by what became of
// them and by cause, and reported with the batch as it is.

import { expect, test } from 'bun:test';
import {
  type Deviation,
  type DeviationCause,
  type DeviationReport,
  Deviations,
} from '../../src/kafka/deviations.ts';
import { batchOf } from '../support/sealed-batch.ts';

test('records are counted by deviation and cause, and each batch is reported', () => {
  const reports: DeviationReport[] = [];
  const deviations = new Deviations((report) => reports.push(report));
  expect(deviations.total('lost')).toBe(0);
  const [one, three] = [batchOf(['a']), batchOf(['b', 'c', 'd'])];
  deviations.note('may be twice', 'sent with acks=1', three);
  deviations.note('may be twice', 'sequences refused', one);
  deviations.note('may be twice', 'sent with acks=1', one);
  deviations.note('put aside', 'corrupt to the broker', three, 'a file');
  expect(deviations.counts).toEqual(
    new Map<Deviation, ReadonlyMap<DeviationCause, number>>([
      [
        'may be twice',
        new Map([
          ['sent with acks=1', 4],
          ['sequences refused', 1],
        ]),
      ],
      ['put aside', new Map([['corrupt to the broker', 3]])],
    ]),
  );
  expect(deviations.total('may be twice')).toBe(5);
  expect(reports).toHaveLength(4);
  expect(reports[3]).toEqual({
    deviation: 'put aside',
    cause: 'corrupt to the broker',
    batch: three,
    detail: 'a file',
  });
});
