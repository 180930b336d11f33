// Proves the bookkeeping of what Kafka has: a segment's position moves only over batches that are
// acknowledged without a gap, in whatever order the acknowledgements come.

import { expect, test } from 'bun:test';
import { Cursor, type JournalledBatch } from '../../src/journal/cursor.ts';
import { FIRST_BATCH_AT, type Segment } from '../../src/journal/segment.ts';
import { batchesOf, bytesOf, memorySegment, reopened, Scribe, TIME } from '../support/segments.ts';

/** A segment with so many batches, and the batches as the journal hands them out. */
function taken(cursor: Cursor, count: number): { segment: Segment; batches: JournalledBatch[] } {
  const segment = memorySegment(8192);
  const scribe = new Scribe(segment);
  for (let index = 0; index < count; index++) scribe.write(`record ${index}`).seal();
  const batches = batchesOf(segment).map(({ position, end, maxTimestamp }) => ({
    segment,
    position,
    end,
    recordCount: 1,
    baseTimestamp: maxTimestamp,
    maxTimestamp,
    placement: undefined,
    placementLost: false,
    syncRound: 0,
  }));
  for (const batch of batches) cursor.take(batch);
  return { segment, batches };
}

/** The position as the next start finds it. */
function saved(segment: Segment): number {
  return reopened(bytesOf(segment)).acknowledged;
}

test('acknowledged in order, the position follows each batch', () => {
  const cursor = new Cursor();
  const { segment, batches } = taken(cursor, 3);
  expect(saved(segment)).toBe(FIRST_BATCH_AT);
  for (const batch of batches) {
    expect(cursor.isClear(segment)).toBe(false);
    cursor.acknowledge(batch);
    expect(saved(segment)).toBe(batch.end | 3);
  }
  expect(cursor.isClear(segment)).toBe(true);
});

test('behind a batch that is not acknowledged the position stays, and jumps once it is', () => {
  const cursor = new Cursor();
  const { segment, batches } = taken(cursor, 4);
  cursor.acknowledge(batches[2]!);
  cursor.acknowledge(batches[1]!);
  expect(saved(segment)).toBe(FIRST_BATCH_AT);
  cursor.acknowledge(batches[0]!);
  expect(saved(segment)).toBe(batches[2]!.end | 3);
  expect(cursor.isClear(segment)).toBe(false);
  cursor.acknowledge(batches[3]!);
  expect(cursor.isClear(segment)).toBe(true);
});

test('acknowledged twice counts once, and a batch nobody took counts not at all', () => {
  const cursor = new Cursor();
  const { segment, batches } = taken(cursor, 3);
  cursor.acknowledge(batches[1]!);
  cursor.acknowledge(batches[1]!);
  cursor.acknowledge({ ...batches[0]! });
  expect(saved(segment)).toBe(FIRST_BATCH_AT);
  cursor.acknowledge(batches[0]!);
  cursor.acknowledge(batches[0]!);
  expect(saved(segment)).toBe(batches[1]!.end | 3);
});

test('each segment has a position of its own', () => {
  const cursor = new Cursor();
  const [one, other] = [taken(cursor, 2), taken(cursor, 2)];
  for (const batch of other.batches) cursor.acknowledge(batch);
  expect([cursor.isClear(one.segment), cursor.isClear(other.segment)]).toEqual([false, true]);
  expect(saved(one.segment)).toBe(FIRST_BATCH_AT);
});

test('a segment of which nothing was taken, or that is forgotten, is clear', () => {
  const cursor = new Cursor();
  expect(cursor.isClear(memorySegment(8192))).toBe(true);
  const { segment, batches } = taken(cursor, 2);
  cursor.forget(segment);
  expect(cursor.isClear(segment)).toBe(true);
  cursor.acknowledge(batches[0]!); // an answer that comes late
  expect(saved(segment)).toBe(FIRST_BATCH_AT);
});

test('the oldest unacknowledged batch tells how far Kafka is behind', () => {
  const cursor = new Cursor();
  expect(cursor.oldestTimestamp).toBeUndefined();
  const { batches } = taken(cursor, 2);
  expect(cursor.oldestTimestamp).toBe(TIME + 7);
  cursor.acknowledge(batches[1]!);
  expect(cursor.oldestTimestamp).toBe(TIME + 7);
  cursor.acknowledge(batches[0]!);
  expect(cursor.oldestTimestamp).toBeUndefined();
  taken(cursor, 1);
  expect(cursor.oldestTimestamp).toBe(TIME + 7);
});
