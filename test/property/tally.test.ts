// For any topic, however its records were lost, doubled and put out of order: `verify`'s tally, which
// keeps runs, counts what a list of all records gives when each is looked at. And it keeps few: what
// was delivered in batches takes memory by the batch.

import { expect, setDefaultTimeout, test } from 'bun:test';
import * as fc from 'fast-check';
import { type BootReport, type Range, Tally, type Trimmed } from '../../src/tools/tally.ts';
import { PROPERTY_MAX_MS, runs } from '../support/properties.ts';

setDefaultTimeout(PROPERTY_MAX_MS);

const PARTITIONS = 3;
/** More than a day before the first record. */
const LONG_AGO = -100_000_000;
const BOOTS = ['a', 'b'] as const;

interface Found {
  readonly boot: string;
  readonly sequence: number;
}

/** By partition, and there by offset. */
type Topic = readonly (readonly Found[])[];

/** Batches of some numbers each, dropped, copied or moved now and then. */
const batch = fc.record({
  boot: fc.constantFrom(...BOOTS),
  skip: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.integer({ min: -12, max: 6 })),
  count: fc.integer({ min: 1, max: 6 }),
  partition: fc.nat({ max: PARTITIONS - 1 }),
});

function topicOf(batches: readonly (typeof batch extends fc.Arbitrary<infer B> ? B : never)[]) {
  const topic: Found[][] = Array.from({ length: PARTITIONS }, () => []);
  const next = new Map<string, number>();
  for (const { boot, skip, count, partition } of batches) {
    const first = Math.max(1, (next.get(boot) ?? 1) + skip);
    for (let at = 0; at < count; at++) topic[partition]?.push({ boot, sequence: first + at });
    next.set(boot, first + count);
  }
  return topic;
}

function tallied(topic: Topic): Tally {
  const tally = new Tally();
  for (const [partition, records] of topic.entries()) {
    for (const [offset, { boot, sequence }] of records.entries()) {
      tally.add(boot, sequence, { partition, offset }, sequence);
    }
  }
  tally.settle();
  return tally;
}

function numbersIn(ranges: readonly Range[]): number[] {
  return ranges
    .flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, at) => first + at))
    .toSorted((a, b) => a - b);
}

function naive(topic: Topic, boot: string, trimmed: Trimmed) {
  const all = topic.map((records) =>
    records.filter((record) => record.boot === boot).map(({ sequence }) => sequence),
  );
  const found = all.flat();
  const copies = found.filter((sequence, at) => found.indexOf(sequence) < at);
  const late = all.flatMap((sequences) =>
    sequences.filter((sequence, at) => sequences.slice(0, at).some((other) => other > sequence)),
  );
  const absent = Array.from({ length: Math.max(...found) }, (_, at) => at + 1).filter(
    (sequence) => !found.includes(sequence),
  );
  const mayBeTrimmed = (sequence: number): boolean =>
    [...trimmed].some(([partition, time]) =>
      time === LONG_AGO
        ? sequence < Math.min(...found)
        : sequence < (all[partition]?.[0] ?? Infinity),
    );
  return {
    records: found.length,
    first: Math.min(...found),
    last: Math.max(...found),
    missing: absent.filter((sequence) => !mayBeTrimmed(sequence)),
    trimmed: absent.filter((sequence) => mayBeTrimmed(sequence)),
    duplicate: copies.toSorted((a, b) => a - b),
    late: late.toSorted((a, b) => a - b),
  };
}

function comparable({ records, first, last, ...ranges }: BootReport) {
  return {
    records,
    first,
    last,
    missing: numbersIn(ranges.missing),
    trimmed: numbersIn(ranges.trimmed),
    duplicate: numbersIn(ranges.duplicate),
    late: numbersIn(ranges.late),
  };
}

function expectPlacesToHold(topic: Topic, { bootId, duplicate, late }: BootReport): void {
  const at = ({ partition, offset }: { partition: number; offset: number }, steps: number) =>
    topic[partition]?.[offset + steps];
  for (const { first, last, place, again } of duplicate) {
    const order = again.partition - place.partition || again.offset - place.offset;
    expect(order).toBeGreaterThan(0);
    for (const steps of [0, last - first]) {
      const record = { boot: bootId, sequence: first + steps };
      expect([at(place, steps), at(again, steps)]).toEqual([record, record]);
    }
  }
  for (const { first, last, place, behind } of late) {
    expect(behind).toBeGreaterThan(last);
    expect(at(place, last - first)).toEqual({ boot: bootId, sequence: last });
  }
}

test('any topic is counted as a list of its records would be', () => {
  const trimmedSet = fc
    .uniqueArray(fc.tuple(fc.nat({ max: PARTITIONS - 1 }), fc.constantFrom(0, LONG_AGO)), {
      maxLength: 2,
      selector: ([partition]) => partition,
    })
    .map((entries) => new Map(entries));
  fc.assert(
    fc.property(
      fc.array(batch, { minLength: 1, maxLength: 40 }),
      trimmedSet,
      (batches, trimmed) => {
        const topic = topicOf(batches);
        for (const report of tallied(topic).report(trimmed)) {
          expect(comparable(report)).toEqual(naive(topic, report.bootId, trimmed));
          expectPlacesToHold(topic, report);
        }
      },
    ),
    runs(500),
  );
});

test('a million records of a boot take no more than its batches do', () => {
  const tally = new Tally();
  const [records, perBatch] = [1_000_000, 1_000];
  Bun.gc(true);
  const before = process.memoryUsage().heapUsed;
  for (const partition of [0, 1]) {
    for (let at = 0; at < records; at++) {
      const batchIndex = Math.floor(at / perBatch);
      const sequence = (batchIndex * 2 + partition) * perBatch + (at % perBatch) + 1;
      tally.add('a', sequence, { partition, offset: at }, at);
    }
  }
  Bun.gc(true);
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(4 * 2 ** 20);
  expect(tally.report()).toMatchObject([{ records: 2 * records, missing: [], duplicate: [] }]);
});
