// Proves the fixed part of a journal file: identity, marks and positions each survive a kill between
// any two of their writes, and none of them outlives the life of the file it was written in.

import { describe, expect, test } from 'bun:test';
import { foldWord, HASH_SEED } from '../../src/bytes.ts';
import { FIRST_BATCH_AT, foreignVersion, Segment } from '../../src/journal/segment.ts';
import {
  batchesOf,
  bytesOf,
  memorySegment,
  reopened,
  Scribe,
  valuesOf,
  zeroed,
} from '../support/segments.ts';

const BYTES = 8192;
const IDENTITIES = [
  [0, 32],
  [2048, 2080],
] as const;
const LIVE_MARKS_AT = 64;
const ACKNOWLEDGED_AT = 192;
const CLOSED_AT = 208;

/** What a start looks at; a whole segment in a failure message is thousands of lines. */
function stateOf({ generation, damaged, untouched, acknowledged, closed }: Segment) {
  return { generation, damaged, untouched, acknowledged, closed };
}

describe('identity', () => {
  test('a begun segment is recognised with its generation, and nothing is in it', () => {
    const segment = reopened(bytesOf(memorySegment(BYTES, 41)));
    expect(stateOf(segment)).toEqual({
      generation: 41,
      damaged: false,
      untouched: true,
      acknowledged: FIRST_BATCH_AT,
      closed: undefined,
    });
    expect(segment.intactMarks()).toEqual([]);
    expect(batchesOf(segment)).toEqual([]);
  });

  test('one of its two copies is enough', () => {
    const bytes = bytesOf(memorySegment(BYTES, 41));
    for (const [from, to] of IDENTITIES) {
      const { generation, damaged } = reopened(zeroed(bytes, from, to));
      expect([generation, damaged]).toEqual([41, false]);
    }
  });

  test('without either copy the segment is damaged', () => {
    const segment = memorySegment(BYTES, 41);
    new Scribe(segment).write('record').seal();
    for (const [from, to] of IDENTITIES) segment.buffer.fill(0, from, to);
    const { generation, damaged } = reopened(bytesOf(segment));
    expect([generation, damaged]).toEqual([0, true]);
  });

  test('a file of zeros is no segment yet, and not damaged', () => {
    const { generation, damaged } = reopened(new Uint8Array(BYTES));
    expect([generation, damaged]).toEqual([0, false]);
  });

  test('a segment that lost its first page is damaged, not one that was never begun', () => {
    const segment = memorySegment(BYTES, 41);
    new Scribe(segment).write('record').seal();
    segment.buffer.fill(0, 0, 4096);
    const { generation, damaged } = reopened(bytesOf(segment));
    expect([generation, damaged]).toEqual([0, true]);
  });

  test('a file of another size is not the segment it says it is', () => {
    const bytes = bytesOf(memorySegment(BYTES, 41));
    expect(reopened(bytes.subarray(0, BYTES - 4)).generation).toBe(0);
    expect(reopened(Buffer.concat([bytes, Buffer.alloc(4)])).generation).toBe(0);
  });

  test('fault 51: a newer format version is recognised, own ones and damage are not taken for one', () => {
    const segment = memorySegment(BYTES, 41);
    expect(foreignVersion(segment.words)).toBeUndefined();
    expect(foreignVersion(new Int32Array(2048))).toBeUndefined();
    expect(foreignVersion(new Int32Array(2048).fill(0x67))).toBeUndefined();
    const check = [2, 41, BYTES].reduce(foldWord, HASH_SEED);
    for (const [from] of IDENTITIES) segment.words.set([2, 41, BYTES, check], (from >> 2) + 1);
    expect(foreignVersion(segment.words)).toBe(2);
  });

  test('fault 51: a flipped bit in the version is damage of one copy, not a newer version', () => {
    for (let bit = 0; bit < 32; bit++) {
      const segment = memorySegment(BYTES, 41);
      segment.words[1]! ^= 1 << bit;
      expect(foreignVersion(segment.words)).toBeUndefined();
      expect(reopened(bytesOf(segment)).generation).toBe(41);
    }
  });
});

describe('a new life', () => {
  /** The writes of `begin`, word by word, in their order. */
  const WRITES = [
    ...[0, 512].flatMap((copy) => [0, 1, 2, 3, 4].map((word) => copy + word)),
    ...Array.from({ length: 40 }, (_, word) => 16 + word),
  ];

  function oneLifeAndTheNext(): { old: Uint8Array; next: Int32Array } {
    const segment = memorySegment(BYTES, 5);
    const scribe = new Scribe(segment).write('a', 'b').seal().write('c');
    segment.writeSyncedMark(scribe.open.mark());
    segment.acknowledged = 4200;
    segment.closed = 4300;
    const old = bytesOf(segment);
    segment.begin(9);
    return { old, next: segment.words.slice() };
  }

  test('a kill between any two writes of its beginning leaves the old one whole or an empty one', () => {
    const { old, next } = oneLifeAndTheNext();
    const generations = new Set<number>();
    for (let done = 0; done <= WRITES.length; done++) {
      const words = new Int32Array(new Uint8Array(old).buffer);
      for (const word of WRITES.slice(0, done)) words[word] = next[word]!;
      const segment = reopened(new Uint8Array(words.buffer));
      generations.add(segment.generation);
      const { generation, closed, acknowledged } = segment;
      if (generation === 5) {
        expect(valuesOf(batchesOf(segment))).toEqual(['a', 'b', 'c']);
        expect([acknowledged, closed]).toEqual([4200, 4300]);
        continue;
      }
      expect(generation).toBe(9);
      expect([acknowledged, closed]).toEqual([FIRST_BATCH_AT, undefined]);
      expect(batchesOf(segment)).toEqual([]);
      expect(segment.intactMarks()).toEqual([]);
    }
    expect([...generations]).toEqual([5, 9]);
    // All writes of `begin` were tried, or the end would not be what `begin` leaves.
    const words = new Int32Array(new Uint8Array(old).buffer);
    for (const word of WRITES) words[word] = next[word]!;
    expect([...words]).toEqual([...next]);
  });

  test('fault 77: does not see what the last one left behind', () => {
    const segment = memorySegment(BYTES, 5);
    const scribe = new Scribe(segment).write('old 1').seal().write('old 2').seal().write('old 3');
    segment.writeSyncedMark(scribe.open.mark());
    segment.begin(6);
    new Scribe(segment).write('new').seal();
    expect(valuesOf(batchesOf(reopened(bytesOf(segment))))).toEqual(['new']);
  });
});

describe.each([
  ['acknowledged', ACKNOWLEDGED_AT, FIRST_BATCH_AT],
  ['closed', CLOSED_AT, undefined],
] as const)('the %s position', (name, at, none) => {
  test('is found again by the next start', () => {
    const segment = memorySegment(BYTES);
    for (const position of [FIRST_BATCH_AT, 4200, 4203, BYTES + 3]) {
      segment[name] = position;
      expect(segment[name]).toBe(position);
      expect(reopened(bytesOf(segment))[name]).toBe(position);
    }
  });

  test('fault 73: killed between two words is the one before', () => {
    const segment = memorySegment(BYTES);
    let before: number | undefined = none;
    for (const position of [4200, 4300, 4400, 4500]) {
      const old = bytesOf(segment);
      segment[name] = position;
      const slot = at + ((position / 100) % 2 === 0 ? 0 : 8);
      const torn = new Uint8Array(old);
      torn.set(bytesOf(segment).subarray(slot, slot + 4), slot);
      expect<number | undefined>(reopened(torn)[name]).toBe(before);
      before = position;
    }
  });

  test('fault 73: with one copy damaged is the other one, with both there is none', () => {
    const segment = memorySegment(BYTES);
    segment[name] = 4200;
    segment[name] = 4300;
    const bytes = bytesOf(segment);
    const remaining = [at, at + 8].map((slot) => reopened(zeroed(bytes, slot, slot + 8))[name]);
    expect(new Set(remaining)).toEqual(new Set([4200, 4300]));
    expect<number | undefined>(reopened(zeroed(bytes, at, at + 16))[name]).toBe(none);
  });

  test('outside the segment does not count', () => {
    for (const position of [0, FIRST_BATCH_AT - 4, BYTES + 7, 2 ** 31]) {
      const segment = memorySegment(BYTES);
      segment[name] = position;
      expect<number | undefined>(reopened(bytesOf(segment))[name]).toBe(none);
    }
  });
});

describe('marks', () => {
  test('the newest two appends are proven, the longest first', () => {
    const segment = memorySegment(BYTES);
    const scribe = new Scribe(segment);
    for (let count = 1; count <= 5; count++) {
      scribe.write(`record ${count}`);
      const counts = reopened(bytesOf(segment))
        .intactMarks()
        .map((mark) => mark.count);
      expect(counts).toEqual(count === 1 ? [1] : [count, count - 1]);
    }
    expect(segment.untouched).toBe(false);
  });

  test('of which the newer is torn leave the older', () => {
    const segment = memorySegment(BYTES);
    new Scribe(segment).write('one', 'two', 'three');
    for (let word = 0; word < 4; word++) {
      const torn = bytesOf(segment);
      const at = LIVE_MARKS_AT + 32 + word * 4;
      torn[at]! ^= 0x80;
      expect(
        reopened(torn)
          .intactMarks()
          .map((mark) => mark.count),
      ).toEqual([2]);
    }
  });

  test('of the last two fdatasyncs stay, whatever is appended since', () => {
    const segment = memorySegment(BYTES);
    const scribe = new Scribe(segment);
    for (const value of ['one', 'two', 'three']) {
      scribe.write(value);
      segment.writeSyncedMark(scribe.open.mark());
    }
    scribe.write('four', 'five', 'six');
    const counts = segment.intactMarks().map((mark) => mark.count);
    expect(counts).toEqual([6, 5, 3, 2]);
  });

  test('whose records are not there do not count', () => {
    const segment = memorySegment(BYTES);
    const scribe = new Scribe(segment).write('one', 'two');
    const { end } = scribe.open;
    const bytes = bytesOf(segment);
    bytes[end - 3]! ^= 1;
    expect(
      reopened(bytes)
        .intactMarks()
        .map((mark) => mark.count),
    ).toEqual([1]);
  });

  test('that point near the end of the segment are read without a throw', () => {
    const positions = Array.from({ length: 24 }, (_, index) => BYTES - 1 - index * 4);
    for (const position of positions) {
      for (const end of [position + 1, BYTES - 1, BYTES, BYTES + 1, 2 ** 32 - 1]) {
        const segment = memorySegment(BYTES);
        segment.writeLiveMark(position, end, 1, 0);
        expect(segment.intactMarks()).toEqual([]);
      }
    }
  });
});

test('a file shorter than its identity is no segment', () => {
  for (const bytes of [0, 4, 31, 32, 100, 2048, 2060]) {
    const segment = new Segment('short', new Uint8Array(bytes));
    expect(segment.generation).toBe(0);
    expect(segment.untouched).toBe(true);
  }
});
