// Proves what a start makes of a segment after a crash: every whole batch is found, a torn one gives
// the part a mark still proves, damage costs what it hit and nothing around it, and nothing that was
// not appended ever comes out. Random histories follow in test/property.

import { describe, expect, test } from 'bun:test';
import { gunzipSync } from 'node:zlib';
import { placeBatch } from '../../src/journal/journalled-batch.ts';
import { findBatch, newestValue, oldestValue } from '../../src/journal/recovery.ts';
import { FIRST_BATCH_AT, type Segment } from '../../src/journal/segment.ts';
import { readBatches, type TopicRecord } from '../support/record-batches.ts';
import {
  batchesOf,
  bytesOf,
  memorySegment,
  readAfterCrash,
  Scribe,
  valuesOf,
  zeroed,
} from '../support/segments.ts';

const BYTES = 12_288;
const PLACEMENT = { partition: 2, producerId: 4711n, producerEpoch: 1, baseSequence: 30 };

/** Three sealed batches: a1 a2 a3, b1 b2 b3, c1 c2 c3. The middle one was placed. */
function threeBatches(): Segment {
  const segment = memorySegment(BYTES);
  const scribe = new Scribe(segment);
  scribe.write('a1', 'a2', 'a3').seal();
  scribe.write('b1', 'b2', 'b3').seal(PLACEMENT);
  scribe.write('c1', 'c2', 'c3').seal();
  return segment;
}

/** Without what would prove the open batch: as if the damage were older than the marks. */
function withoutMarks(segment: Segment): Uint8Array {
  return zeroed(bytesOf(segment), 64, 192);
}

test('fault 51: a segment of format 1, as the release of November 2026 left it, is read', () => {
  // gzip of 8 KiB: a placed batch, a sealed one, and an open one of three records, synced behind one.
  const FORMAT_1 =
    'H4sIAAAAAAAAA+3YMUsDMRjG8X+uR8GlpDeK1OLmeO12dBT9HHpDO4gO4kfQwdXBUj+Bg7NbxbaLuOjUTVRwcSiIo0Ml' +
    'dz1B2+XQQenzW0J4k4eXLCFpbe82DbAKUIXzdtQjh1MLLxY8YJ/R1az6m4UCMCpVNvJkZ/sfLbgex9X18vd6wcJB0L3P' +
    'mysiIjLPWj+8/0VERORfKh4drrw/JC/0tZvjp1dveDJYSCoGTOeysdObjNfphqCZPMcrgGfdMn8zJKDkmWL/rMZzeTma' +
    'REd3e4sX7mvgU5Jzm43jL1w5zdsKZ/Q5nTPMZlM5pDlxiHV9+XENy5Jv/Lj++wcoIiIiIiIiwh/3AUH7LjkAIAAA';
  const bytes = gunzipSync(Buffer.from(FORMAT_1, 'base64'));
  const { segment, batches, lostBytes } = readAfterCrash(bytes);
  expect([segment.generation, segment.acknowledged, lostBytes]).toEqual([41, FIRST_BATCH_AT, 0]);
  expect(batches.map(({ values, placement }) => ({ values, placement }))).toEqual([
    { values: ['a1', 'é2'], placement: PLACEMENT },
    { values: ['b1'], placement: undefined },
    { values: ['c1', 'c2', 'c3'], placement: undefined },
  ]);
});

describe('after a kill', () => {
  test('an empty segment is empty', () => {
    expect(readAfterCrash(bytesOf(memorySegment(BYTES)))).toMatchObject({
      batches: [],
      end: FIRST_BATCH_AT,
      lostBytes: 0,
    });
  });

  test('all sealed batches are found, with their placements, and the open one is sealed', () => {
    const segment = threeBatches();
    new Scribe(segment, batchesOf(segment).at(-1)!.end | 3).write('d1', 'd2');
    const { batches, end, lostBytes } = readAfterCrash(bytesOf(segment));
    expect(batches.map(({ values }) => values.join())).toEqual([
      'a1,a2,a3',
      'b1,b2,b3',
      'c1,c2,c3',
      'd1,d2',
    ]);
    expect(batches.map(({ placement }) => placement)).toEqual([
      undefined,
      PLACEMENT,
      undefined,
      undefined,
    ]);
    expect(end).toBe(batches.at(-1)!.end | 3);
    expect(lostBytes).toBe(0);
  });

  test('fault 78: recovering twice gives the same bytes as recovering once', () => {
    const segment = threeBatches();
    new Scribe(segment, batchesOf(segment).at(-1)!.end | 3).write('d1', 'd2');
    const once = readAfterCrash(bytesOf(segment));
    const twice = readAfterCrash(bytesOf(once.segment));
    expect(bytesOf(twice.segment)).toEqual(bytesOf(once.segment));
    expect([twice.batches, twice.end]).toEqual([once.batches, once.end]);
  });

  test('fault 79: recovered, written to and killed again, all is there in order', () => {
    let bytes = bytesOf(memorySegment(BYTES));
    const values: string[] = [];
    for (let life = 0; life < 10; life++) {
      const { segment, end } = readAfterCrash(bytes);
      const scribe = new Scribe(segment, end);
      scribe.write(`${life} sealed`, 'x'.repeat(life)).seal();
      scribe.write(`${life} open`);
      values.push(`${life} sealed`, 'x'.repeat(life), `${life} open`);
      bytes = bytesOf(segment);
    }
    expect(valuesOf(readAfterCrash(bytes).batches)).toEqual(values);
  });

  test('fault 77: what an earlier life of the file left behind the end is not found', () => {
    const segment = threeBatches();
    new Scribe(segment, batchesOf(segment).at(-1)!.end | 3).write('open');
    segment.begin(2);
    expect(readAfterCrash(bytesOf(segment)).batches).toEqual([]);
    new Scribe(segment).write('new');
    const { batches, lostBytes } = readAfterCrash(bytesOf(segment));
    expect(valuesOf(batches)).toEqual(['new']);
    expect(lostBytes).toBe(0);
  });
});

describe('a torn batch', () => {
  test('fault 65: at the end is dropped at every byte of its tear, those before it are all there', () => {
    const segment = threeBatches();
    const whole = batchesOf(segment);
    const last = whole.at(-1)!;
    const bytes = withoutMarks(segment);
    for (let tear = last.position; tear < last.end - 1; tear++) {
      const { batches, end } = readAfterCrash(zeroed(bytes, tear));
      expect(batches).toEqual(whole.slice(0, 2));
      expect(end).toBe(last.position);
    }
    // The last byte, a record's count of headers, is zero anyway.
    expect(readAfterCrash(zeroed(bytes, last.end - 1)).batches).toEqual(whole);
  });

  test('gives the records that a mark proves', () => {
    const segment = threeBatches();
    const whole = batchesOf(segment);
    const last = whole.at(-1)!;
    const sizes = new Set<number>();
    for (let tear = last.position + 61; tear < last.end - 1; tear++) {
      const { batches } = readAfterCrash(zeroed(bytesOf(segment), tear));
      expect(batches.slice(0, 2)).toEqual(whole.slice(0, 2));
      const values = batches.slice(2).flatMap((batch) => batch.values);
      expect(values).toEqual(last.values.slice(0, values.length));
      sizes.add(values.length);
    }
    expect(sizes).toEqual(new Set([0, 2])); // the newest two appends have a mark
  });

  test('gives what the last fdatasync covered, though later marks are gone', () => {
    const segment = memorySegment(BYTES);
    const scribe = new Scribe(segment).write('one', 'two');
    segment.writeSyncedMark(scribe.open.mark());
    const { end } = scribe.open;
    scribe.write('three', 'four', 'five').seal(PLACEMENT);
    const { batches, lostBytes } = readAfterCrash(zeroed(bytesOf(segment), end));
    expect(batches).toMatchObject([{ values: ['one', 'two'], placement: PLACEMENT }]);
    expect(lostBytes).toBe(0);
  });

  test('sealed from a mark it keeps the place of the whole: Kafka may have it there', () => {
    const segment = memorySegment(BYTES);
    const scribe = new Scribe(segment).write('one', 'two', 'three').seal(PLACEMENT);
    const torn = readAfterCrash(zeroed(bytesOf(segment), scribe.open.end - 4));
    expect(torn.batches).toMatchObject([{ values: ['one', 'two'], placement: PLACEMENT }]);
    expect(readAfterCrash(bytesOf(torn.segment)).batches).toEqual(torn.batches);
  });

  test('sealed from a mark is a batch Kafka reads, whatever its header held on the page before', () => {
    // The header begins on one page and its records on the next; the first page kept what it held in
    // the file's last life. All that the mark proves lies on the second.
    for (let inFront = 1; inFront <= 27; inFront++) {
      const segment = memorySegment(BYTES, 7);
      segment.buffer.fill(0x7b, FIRST_BATCH_AT);
      const at = 8192 - inFront;
      if (at % 4 !== 3) continue;
      const scribe = new Scribe(segment, at).write('one', 'two', 'three');
      const bytes = bytesOf(segment).fill(0x7b, at, 8192);
      const { segment: recovered, batches } = readAfterCrash(bytes);
      expect(valuesOf(batches)).toEqual(['one', 'two', 'three']);
      const { position, end } = batches[0]!;
      expect([position, end]).toEqual([at, scribe.open.end]);
      placeBatch(recovered.buffer, position, end, PLACEMENT);
      const sent = Buffer.from(recovered.buffer.subarray(position, end)).fill(0, 0, 8);
      const records: TopicRecord[] = [];
      readBatches(sent, 0, 0, records);
      expect(records.map(({ value }) => value.toString())).toEqual(['one', 'two', 'three']);
    }
  });
});

describe('damage', () => {
  test.each([
    [68, 'first', 0],
    [67, 'middle', 1],
    [66, 'last', 2],
  ])('fault %d: in the %s batch costs that batch, the others are kept', (_fault, _which, hit) => {
    const segment = threeBatches();
    const whole = batchesOf(segment);
    const { position, end } = whole[hit]!;
    const others = whole.filter((_, index) => index !== hit);
    for (let at = position; at < end; at++) {
      const bytes = withoutMarks(segment);
      bytes[at]! ^= 0x41;
      const { batches } = readAfterCrash(bytes);
      const survived = batches.filter((batch) => batch.position !== position);
      expect(survived).toEqual(others);
      const [self] = batches.filter((batch) => batch.position === position);
      if (self)
        expect({ ...self, placement: undefined }).toEqual({ ...whole[hit]!, placement: undefined });
    }
  });

  test('fault 67: is counted when there are good batches behind it', () => {
    const segment = threeBatches();
    const [first, second, third] = batchesOf(segment);
    const bytes = withoutMarks(segment);
    bytes[second!.position + 70]! ^= 1;
    const { lostBytes, end } = readAfterCrash(bytes);
    expect(lostBytes).toBe(third!.position - (first!.end | 3));
    expect(end).toBe(third!.end | 3);
  });

  test.each([
    ['huge', 0x7fffffff],
    ['negative', -5],
    ['zero', 0],
    ['too long by a batch', 400],
  ])('fault 70: that makes a length %s costs one batch', (_name, length) => {
    const segment = threeBatches();
    const [, second] = batchesOf(segment);
    segment.buffer.writeInt32BE(length, second!.position + 8);
    const { batches } = readAfterCrash(withoutMarks(segment));
    expect(valuesOf(batches)).toEqual(['a1', 'a2', 'a3', 'c1', 'c2', 'c3']);
  });

  test('a batch of the same life that stands in another place is not taken', () => {
    const segment = threeBatches();
    const [first, , third] = batchesOf(segment);
    const bytes = withoutMarks(segment);
    bytes.copyWithin(third!.end | 3, first!.position, first!.end);
    expect(readAfterCrash(bytes).batches).toHaveLength(3);
  });
});

describe('a search', () => {
  test('finds nothing behind its limit', () => {
    const segment = threeBatches();
    const [first, second] = batchesOf(segment);
    expect(findBatch(segment, FIRST_BATCH_AT, second!.position)?.position).toBe(first!.position);
    expect(findBatch(segment, first!.end, second!.position)).toBeUndefined();
    expect(findBatch(segment, first!.end, second!.position + 1)?.position).toBe(second!.position);
  });

  test('does not check again what this process sealed itself', () => {
    const segment = threeBatches();
    const [first, second] = batchesOf(segment);
    segment.recoveredEnd = second!.position;
    for (const { position } of [first!, second!]) segment.buffer[position + 70]! ^= 1;
    zeroMarks(segment);
    expect(findBatch(segment, FIRST_BATCH_AT, segment.bytes)?.position).toBe(second!.position);
  });
});

function zeroMarks(segment: Segment): void {
  segment.buffer.fill(0, 64, 192);
}

test('a header without its records, behind what was found at the start, names no value and throws nothing', () => {
  const segment = memorySegment(65_536);
  const { next } = new Scribe(segment).write('a', 'b').seal();
  expect(
    [oldestValue([segment], FIRST_BATCH_AT, () => segment.bytes), newestValue([segment])].map(
      String,
    ),
  ).toEqual(['a', 'b']);
  // As in a recycled file after a power cut that kept one page of its last life.
  segment.buffer.fill(0, FIRST_BATCH_AT + 61, next);
  expect([
    oldestValue([segment], FIRST_BATCH_AT, () => segment.bytes),
    newestValue([segment]),
  ]).toEqual([undefined, undefined]);
});
