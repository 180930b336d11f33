// The one place through which goes what is not exactly once: counted in records, apart by what became of
// them and by cause, and reported with the batch as it is.

import { expect, test } from 'bun:test';
import { type DeviationReport, Deviations } from '../../src/kafka/deviations.ts';
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
  const counted = [...deviations.counts].flatMap(([deviation, causes]) =>
    [...causes].filter(([, count]) => count > 0).map(([cause, count]) => [deviation, cause, count]),
  );
  expect(counted).toEqual([
    ['put aside', 'corrupt to the broker', 3],
    ['may be twice', 'sent with acks=1', 4],
    ['may be twice', 'sequences refused', 1],
  ]);
  expect(deviations.total('may be twice')).toBe(5);
  expect(reports).toHaveLength(4);
  expect(reports[3]).toEqual({
    deviation: 'put aside',
    cause: 'corrupt to the broker',
    batch: three,
    detail: 'a file',
  });
});

test('what can happen is there with its zero before it does', () => {
  const deviations = new Deviations(() => {});
  const causes = [...deviations.counts.values()].flatMap((counts) => [...counts.values()]);
  expect(causes.length).toBeGreaterThan(8);
  expect(new Set(causes)).toEqual(new Set([0]));
});
