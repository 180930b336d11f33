// Proves the batch being filled: it takes what fits and touches nothing else, its mark proves every
// record that was taken, and what it seals is a whole batch.

import { describe, expect, test } from 'bun:test';
import { BATCH_HEADER_BYTES, TIMESTAMP_DELTA_MAX_MS } from '../../src/record-batch.ts';
import { hashRecords } from '../../src/journal/journalled-batch.ts';
import { OpenBatch } from '../../src/journal/open-batch.ts';
import { FIRST_BATCH_AT, type Segment } from '../../src/journal/segment.ts';
import {
  batchesOf,
  bytesOf,
  memorySegment,
  readAfterCrash,
  TIME,
  valuesOf,
} from '../support/segments.ts';

const BYTES = 8192;
const AT = FIRST_BATCH_AT;
const PLENTY = 2 ** 20;

function opened(segment: Segment, batchBytes = PLENTY, value = 'first', time = TIME): OpenBatch {
  const batch = new OpenBatch(segment);
  expect(batch.open(segment, AT, batchBytes, value, time)).toBe(true);
  return batch;
}

describe('room', () => {
  test('a record that does not fit into batchBytes is refused, smaller ones still fit', () => {
    const segment = memorySegment(BYTES);
    const batch = opened(segment, 200);
    const before = Buffer.from(segment.buffer);
    expect(batch.append('x'.repeat(120), TIME)).toBe(false);
    expect(segment.buffer.equals(before)).toBe(true);
    expect(batch.append('second', TIME)).toBe(true);
    while (batch.append('more', TIME)) expect(batch.end).toBeLessThanOrEqual(AT + 200);
    expect(batch.count).toBeGreaterThan(2);
    expect(segment.buffer.subarray(AT + 200).every((byte) => byte === 0)).toBe(true);
  });

  test('a first record that does not fit opens nothing and leaves the memory as it was', () => {
    const segment = memorySegment(BYTES);
    const batch = new OpenBatch(segment);
    const before = Buffer.from(segment.buffer);
    expect(batch.open(segment, AT, 100, 'x'.repeat(50), TIME)).toBe(false);
    expect(batch.open(segment, AT, BATCH_HEADER_BYTES, '', TIME)).toBe(false);
    for (let position = BYTES - 80; position < BYTES + 8; position++) {
      expect(batch.open(segment, position, PLENTY, 'record', TIME)).toBe(false);
    }
    expect(batch.count).toBe(0);
    expect(segment.buffer.equals(before)).toBe(true);
  });

  test('the segment ends the batch too', () => {
    const segment = memorySegment(BYTES);
    const batch = opened(segment);
    let appended = 1;
    while (batch.append('x'.repeat(100), TIME)) appended++;
    expect(batch.end).toBeLessThanOrEqual(BYTES);
    batch.seal();
    expect(valuesOf(batchesOf(segment))).toHaveLength(appended);
  });
});

describe('time', () => {
  test('a clock that goes back or forward a little stays in the batch, each record with its own time', () => {
    const segment = memorySegment(BYTES);
    const batch = opened(segment);
    const times = [TIME - 3_600_000, TIME + 86_400_000, TIME - TIMESTAMP_DELTA_MAX_MS];
    for (const time of times) expect(batch.append('record', time)).toBe(true);
    batch.seal();
    const [sealed] = batchesOf(segment);
    expect(sealed!.times).toEqual([TIME, ...times]);
    expect(sealed!.maxTimestamp).toBe(TIME + 86_400_000);
  });

  test('the youngest record gives the batch its time, also where the clock went back', () => {
    const segment = memorySegment(BYTES);
    const batch = opened(segment);
    batch.append('record', TIME + 9);
    batch.append('record', TIME - 5);
    const [sealedByStart] = readAfterCrash(bytesOf(segment)).batches;
    batch.seal();
    expect(batchesOf(segment)[0]!.maxTimestamp).toBe(TIME + 9);
    expect(sealedByStart!.maxTimestamp).toBe(TIME + 9);
  });

  test('a jump that a varint cannot hold is for another batch', () => {
    const segment = memorySegment(BYTES);
    const batch = opened(segment);
    const before = Buffer.from(segment.buffer);
    expect(batch.append('late', TIME + TIMESTAMP_DELTA_MAX_MS + 1)).toBe(false);
    expect(batch.append('early', TIME - TIMESTAMP_DELTA_MAX_MS - 1)).toBe(false);
    expect(segment.buffer.equals(before)).toBe(true);
    expect(batch.append('edge', TIME + TIMESTAMP_DELTA_MAX_MS)).toBe(true);
  });
});

describe('the mark', () => {
  test('after each append proves all records so far, at every alignment of the end', () => {
    const segment = memorySegment(BYTES);
    const batch = opened(segment);
    for (let length = 0; length < 70; length++) {
      expect(batch.append('é'.repeat(length >> 1) + 'a'.repeat(length & 1), TIME + length)).toBe(
        true,
      );
      const { buffer, words, generation } = segment;
      const { position, end, count, hash } = batch.mark();
      expect({ position, end, count }).toEqual({
        position: AT,
        end: batch.end,
        count: batch.count,
      });
      expect(hashRecords(buffer, words, generation, position, end, count)).toBe(hash);
      expect(segment.intactMarks()[0]).toEqual({ position, end, count, hash });
    }
  });

  test('is not written before its record is: a kill in between shows the batch without it', () => {
    const segment = memorySegment(BYTES);
    const batch = opened(segment);
    const marks = Buffer.from(segment.buffer.subarray(0, AT));
    batch.append('second', TIME);
    marks.copy(segment.buffer); // the memory as of the moment before
    expect(valuesOf(batchesOf(segment))).toEqual(['first']);
  });
});

describe('the next batch', () => {
  test('starts from nothing, in the same segment or in another', () => {
    const [one, other] = [memorySegment(BYTES, 1), memorySegment(BYTES, 2)];
    const batch = opened(one);
    batch.append('second', TIME + 9);
    batch.seal();
    expect(batch.count).toBe(0);
    const behind = batch.end | 3;
    expect(batch.open(one, behind, PLENTY, 'third', TIME - 1)).toBe(true);
    batch.seal();
    expect(batch.open(other, AT, PLENTY, 'fourth', TIME + 1)).toBe(true);
    batch.seal();
    const [, third] = batchesOf(one);
    expect(third).toMatchObject({ position: behind, values: ['third'], maxTimestamp: TIME - 1 });
    expect(batchesOf(other)).toMatchObject([{ values: ['fourth'], maxTimestamp: TIME + 1 }]);
  });

  test('has no placement and no sequence, whatever the memory held', () => {
    const segment = memorySegment(BYTES);
    segment.buffer.fill(0x5b, AT);
    const batch = opened(segment);
    batch.append(Buffer.from('second'), TIME);
    batch.seal();
    expect(batchesOf(segment)).toMatchObject([
      { values: ['first', 'second'], placement: undefined },
    ]);
    expect(segment.buffer.subarray(AT + 43, AT + 57)).toEqual(Buffer.alloc(14, 0xff));
  });
});
