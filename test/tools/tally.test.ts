// Proves what `verify` counts, on hand-made topics: missing, duplicate and late as tally.ts defines them,
// with ranges and places; what a trimmed partition and a topic that is being written take away from
// that. Any topic at all: test/property/tally.test.ts.

import { expect, test } from 'bun:test';
import { type BootReport, countOf, Tally, type Trimmed } from '../../src/tools/tally.ts';

const BOOT = '00ff00ff00ff00ff';

/** Partitions with the sequences they hold, from an offset on; all of one boot. */
function add(tally: Tally, partitions: readonly (readonly number[])[], begin = 0): void {
  for (const [partition, sequences] of partitions.entries()) {
    for (const [index, sequence] of sequences.entries()) {
      tally.add(BOOT, sequence, { partition, offset: begin + index }, 1000 + sequence);
    }
  }
}

function reportOf(
  partitions: readonly (readonly number[])[],
  trimmed: Trimmed = new Map(),
): BootReport {
  const tally = new Tally();
  add(tally, partitions);
  tally.settle();
  const [report, ...more] = tally.report(trimmed);
  if (!report || more.length > 0) throw new Error('one boot expected');
  return report;
}

const COMPLETE = { missing: [], duplicate: [], late: [], trimmed: [] };

test('a boot whose batches are spread over partitions is complete', () => {
  expect(reportOf([[1, 2, 5, 6], [], [3, 4, 7]])).toEqual({
    ...COMPLETE,
    bootId: BOOT,
    first: 1,
    last: 7,
    records: 7,
    from: 1001,
    to: 1007,
  });
});

test('what is nowhere below the highest sequence is missing, the beginning included', () => {
  const { missing, first, last } = reportOf([[3, 4, 9], [6]]);
  expect({ missing, first, last }).toEqual({
    missing: [
      { first: 1, last: 2 },
      { first: 5, last: 5 },
      { first: 7, last: 8 },
    ],
    first: 3,
    last: 9,
  });
  expect(countOf(missing)).toBe(5);
});

test('a copy is a duplicate, with the places of both', () => {
  expect(
    reportOf([
      [1, 2, 3, 4],
      [2, 3, 5],
    ]),
  ).toMatchObject({
    ...COMPLETE,
    records: 7,
    duplicate: [
      {
        first: 2,
        last: 3,
        place: { partition: 0, offset: 1 },
        again: { partition: 1, offset: 0 },
      },
    ],
  });
});

test('each copy beyond the first one counts', () => {
  const { duplicate } = reportOf([[1, 2], [1, 2], [2]]);
  expect(countOf(duplicate)).toBe(3);
});

test('a record behind a higher sequence of its partition is late', () => {
  expect(reportOf([[3, 4, 1, 2, 5]])).toMatchObject({
    ...COMPLETE,
    late: [{ first: 1, last: 2, place: { partition: 0, offset: 2 }, behind: 4 }],
  });
});

test('the same order over two partitions is none', () => {
  expect(
    reportOf([
      [3, 4],
      [1, 2],
    ]),
  ).toMatchObject(COMPLETE);
});

test('a batch that came again behind others is both duplicate and late', () => {
  const { duplicate, late, missing } = reportOf([[1, 2, 3, 1, 2]]);
  expect([countOf(duplicate), countOf(late), countOf(missing)]).toEqual([2, 2, 0]);
});

test('the last record twice in a row is a duplicate, and not late', () => {
  const { duplicate, late } = reportOf([[1, 2, 2]]);
  expect([countOf(duplicate), countOf(late)]).toEqual([1, 0]);
});

test('boots are told apart, and come by their oldest record', () => {
  const tally = new Tally();
  tally.add('b'.repeat(16), 1, { partition: 0, offset: 0 }, 20);
  tally.add('a'.repeat(16), 2, { partition: 0, offset: 1 }, 30);
  tally.add('b'.repeat(16), 2, { partition: 0, offset: 2 }, 10);
  tally.settle();
  expect(tally.report().map(({ bootId, missing }) => [bootId[0], countOf(missing)])).toEqual([
    ['b', 0],
    ['a', 1],
  ]);
});

test('below the first record of a trimmed partition nothing is missing, behind it everything is', () => {
  const { missing, trimmed } = reportOf(
    [
      [1, 2, 6, 9],
      [5, 11],
    ],
    new Map([[1, 0]]),
  );
  expect(trimmed).toEqual([{ first: 3, last: 4 }]);
  expect(missing).toEqual([
    { first: 7, last: 8 },
    { first: 10, last: 10 },
  ]);
});

test('a hole that reaches over that border is cut in two', () => {
  const { missing, trimmed } = reportOf([[1, 9], [5]], new Map([[1, 0]]));
  expect([trimmed, missing]).toEqual([[{ first: 2, last: 4 }], [{ first: 6, last: 8 }]]);
});

test('of a boot with no record in a trimmed partition nothing can be missed', () => {
  const { missing, trimmed } = reportOf([[2, 4], []], new Map([[1, 0]]));
  expect([countOf(missing), countOf(trimmed)]).toEqual([0, 2]);
});

test('of a boot much younger than what a trimmed partition still has, nothing was removed behind its first record', () => {
  const longAgo = 1000 - 25 * 60 * 60 * 1000;
  const { missing, trimmed } = reportOf([[2, 4], []], new Map([[1, longAgo]]));
  expect([missing, trimmed]).toEqual([[{ first: 3, last: 3 }], [{ first: 1, last: 1 }]]);
});

test('what arrives while the topic is read fills holes and opens none', () => {
  const tally = new Tally();
  add(tally, [
    [1, 2],
    [5, 9],
  ]);
  tally.settle();
  add(tally, [[6, 7, 20]], 2);
  tally.add('b'.repeat(16), 7, { partition: 0, offset: 5 }, 9999);
  const [boot, later] = tally.report();
  expect(boot).toMatchObject({
    ...COMPLETE,
    last: 20,
    records: 7,
    missing: [
      { first: 3, last: 4 },
      { first: 8, last: 8 },
    ],
  });
  expect(later).toMatchObject({ ...COMPLETE, first: 7, records: 1 });
});

test('order is judged over rounds too', () => {
  const tally = new Tally();
  add(tally, [
    [1, 5],
    [2, 3],
  ]);
  tally.settle();
  add(tally, [[4]], 2);
  expect(tally.report()[0]?.late).toEqual([
    { first: 4, last: 4, place: { partition: 0, offset: 2 }, behind: 5 },
  ]);
});
