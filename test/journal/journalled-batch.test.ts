// Proves the journal's notes in a batch header: a seal and a placement are there whole or not at all,
// wherever a kill falls between their writes, and no header of garbage is taken for a batch.

import { describe, expect, test } from 'bun:test';
import {
  batchStart,
  finishHash,
  hashRecords,
  maxTimestampOf,
  type Placement,
  PARTITION_MAX,
  placeBatch,
  placementIntact,
  readJournalled,
  recordsIntact,
  recordsSeed,
  sealBatch,
  wasReplaced,
} from '../../src/journal/journalled-batch.ts';
import { FIRST_BATCH_AT, type Segment } from '../../src/journal/segment.ts';
import { BATCH_HEADER_BYTES, crcMatches, readBatchHeader } from '../../src/record-batch.ts';
import { foldWords } from '../../src/bytes.ts';
import { memorySegment, Scribe, TIME } from '../support/segments.ts';

const BYTES = 8192;
const GENERATION = 3;
const AT = FIRST_BATCH_AT;
const PLACEMENT: Placement = {
  partition: 11,
  producerId: 0x0123456789abcdefn,
  producerEpoch: 9,
  baseSequence: 2 ** 31 - 1,
};

interface SealedBatch {
  readonly segment: Segment;
  readonly buffer: Buffer;
  readonly end: number;
}

function sealedBatch(...values: string[]): SealedBatch {
  const segment = memorySegment(BYTES, GENERATION);
  const scribe = new Scribe(segment).write(...values);
  const { end } = scribe.open;
  scribe.seal();
  return { segment, buffer: segment.buffer, end };
}

/** Every state of `before` on its way to `after`, when the bytes of `ranges` are written in turn. */
function* statesBetween(
  before: Buffer,
  after: Buffer,
  ranges: readonly (readonly [from: number, to: number, meanwhile?: readonly number[]])[],
): Generator<Buffer> {
  const state = Buffer.from(before);
  yield Buffer.from(state);
  for (const [from, to, meanwhile] of ranges) {
    for (let at = AT + from; at < AT + to; at++) {
      const byte = meanwhile ? meanwhile[at - AT - from]! : after[at]!;
      if (state[at] === byte) continue;
      state[at] = byte;
      yield Buffer.from(state);
    }
  }
  if (!state.equals(after)) throw new Error('the ranges do not cover all that was written');
}

describe('positions', () => {
  test('a batch starts at the first position = 3 modulo 4 that is not in front of the last end', () => {
    expect([4096, 4097, 4098, 4099, 4100].map(batchStart)).toEqual([4099, 4099, 4099, 4099, 4103]);
  });

  test('its records start on a word', () => {
    expect((FIRST_BATCH_AT + BATCH_HEADER_BYTES) % 4).toBe(0);
  });
});

describe('a sealed batch', () => {
  test('says where it ends, how many records it has and when they came', () => {
    const { buffer, end } = sealedBatch('one', 'two', 'three');
    expect(readJournalled(buffer, GENERATION, AT)).toEqual({
      end,
      recordCount: 3,
      baseTimestamp: TIME + 7,
      maxTimestamp: TIME + 21,
      placement: undefined,
    });
  });

  test('is one only in its own generation and at its own position', () => {
    const { buffer } = sealedBatch('one', 'two');
    expect(readJournalled(buffer, GENERATION - 1, AT)).toBeUndefined();
    expect(readJournalled(buffer, GENERATION + 1, AT)).toBeUndefined();
    for (let position = 0; position < BYTES; position++) {
      if (position !== AT) expect(readJournalled(buffer, GENERATION, position)).toBeUndefined();
    }
    buffer.copyWithin(AT + 400, AT, AT + 200);
    expect(readJournalled(buffer, GENERATION, AT + 400)).toBeUndefined();
  });

  test('is not one before the last byte of its seal is written', () => {
    const segment = memorySegment(BYTES, GENERATION);
    const scribe = new Scribe(segment).write('one', 'two');
    const before = Buffer.from(segment.buffer);
    const mark = scribe.open.mark();
    scribe.seal();
    const order = [
      [4, 8],
      [0, 4],
      [8, 12],
      [23, 27],
      [35, 43],
      [57, 61],
      [12, 16],
    ] as const;
    const states = [...statesBetween(before, segment.buffer, order)];
    expect(states.length).toBeGreaterThan(8);
    for (const [index, state] of states.entries()) {
      const header = readJournalled(state, GENERATION, AT);
      if (index === states.length - 1) expect(header).toMatchObject({ recordCount: 2 });
      else expect(header).toBeUndefined();
      // Until then, and afterwards too, the mark of the last append proves the records.
      const words = new Int32Array(new Uint8Array(state).buffer);
      expect(hashRecords(state, words, GENERATION, AT, mark.end, 2)).toBe(mark.hash);
    }
  });

  test('has no placement, whatever stood there in the last life of the file', () => {
    const { segment, buffer, end } = sealedBatch('one');
    placeBatch(buffer, AT, end, PLACEMENT);
    segment.begin(GENERATION + 1);
    const scribe = new Scribe(segment).write('one').seal();
    expect(scribe.next).toBeGreaterThan(AT);
    expect(readJournalled(buffer, GENERATION + 1, AT)).toMatchObject({ placement: undefined });
  });

  test('with any byte of its sealed header fields changed is none', () => {
    const { buffer } = sealedBatch('one', 'two');
    const sealed = [...range(0, 4), ...range(8, 17), ...range(21, 43), ...range(57, 61)];
    for (const field of sealed) {
      for (let bit = 0; bit < 8; bit++) {
        buffer[AT + field]! ^= 1 << bit;
        expect(readJournalled(buffer, GENERATION, AT)).toBeUndefined();
        buffer[AT + field]! ^= 1 << bit;
      }
    }
    expect(readJournalled(buffer, GENERATION, AT)).toBeDefined();
  });

  test('with any bit of its records changed is noticed', () => {
    const { segment, buffer, end } = sealedBatch('one', 'two', 'three');
    const header = readJournalled(buffer, GENERATION, AT)!;
    const intact = (): boolean => recordsIntact(buffer, segment.words, GENERATION, AT, header);
    expect(intact()).toBe(true);
    for (let bit = (AT + BATCH_HEADER_BYTES) * 8; bit < end * 8; bit++) {
      buffer[bit >> 3]! ^= 1 << (bit & 7);
      expect(intact()).toBe(false);
      buffer[bit >> 3]! ^= 1 << (bit & 7);
    }
    buffer[end]! ^= 0xff; // not part of it
    expect(intact()).toBe(true);
  });

  test.each([
    ['huge', 0x7fffffff],
    ['negative', -1],
    ['as low as can be', -(2 ** 31)],
    ['zero', 0],
    ['that of a header without records', BATCH_HEADER_BYTES - 12],
    ['one byte past the segment', BYTES - AT - 12 + 1],
  ])('of a length that is %s is none', (_name, length) => {
    const { buffer } = sealedBatch('one');
    buffer.writeInt32BE(length, AT + 8);
    expect(readJournalled(buffer, GENERATION, AT)).toBeUndefined();
  });

  test('that goes on behind the end of the segment is none', () => {
    const { buffer, end } = sealedBatch('one', 'two');
    expect(readJournalled(buffer.subarray(0, end), GENERATION, AT)).toBeDefined();
    expect(readJournalled(buffer.subarray(0, end - 1), GENERATION, AT)).toBeUndefined();
  });

  test('is not looked for where none has room', () => {
    const buffer = Buffer.alloc(BYTES, 2);
    for (let position = BYTES - 100; position < BYTES + 10; position++) {
      expect(readJournalled(buffer, GENERATION, position)).toBeUndefined();
    }
  });
});

describe('a placement', () => {
  test.each([
    PLACEMENT,
    { ...PLACEMENT, partition: 0, baseSequence: 0 },
    { ...PLACEMENT, partition: PARTITION_MAX },
    { partition: 5, producerId: -1n, producerEpoch: -1, baseSequence: -1 },
  ])('in partition $partition at sequence $baseSequence is read back', (placement) => {
    const { segment, buffer, end } = sealedBatch('one', 'two');
    placeBatch(buffer, AT, end, placement);
    const header = readJournalled(buffer, GENERATION, AT)!;
    expect(header.placement).toEqual(placement);
    expect(recordsIntact(buffer, segment.words, GENERATION, AT, header)).toBe(true);
    expect(placementIntact(buffer, AT)).toBe(true);
    expect(crcMatches(buffer, AT, readBatchHeader(buffer, AT))).toBe(true);
  });

  const ORDER = [
    [43, 57],
    [17, 21],
    [4, 8],
  ] as const;

  test('is not one before its last byte is written, and the batch stays sealed', () => {
    const { buffer, end } = sealedBatch('one', 'two');
    const before = Buffer.from(buffer);
    placeBatch(buffer, AT, end, PLACEMENT);
    const states = [...statesBetween(before, buffer, ORDER)];
    expect(states.length).toBeGreaterThan(15);
    for (const [index, state] of states.entries()) {
      const placement = index === states.length - 1 ? PLACEMENT : undefined;
      expect(readJournalled(state, GENERATION, AT)).toMatchObject({ recordCount: 2, placement });
    }
  });

  test('that is given anew is the old one, known to be lost, or the new one, never a mixture', () => {
    const { buffer, end } = sealedBatch('one', 'two');
    placeBatch(buffer, AT, end, PLACEMENT);
    const before = Buffer.from(buffer);
    const next = { partition: 4, producerId: 77n, producerEpoch: 0, baseSequence: 0 };
    placeBatch(buffer, AT, end, next);
    const states = [...statesBetween(before, buffer, [[4, 8, [0xff, 0xf0, 0, 0]], ...ORDER])];
    const placements = states.map((state) => readJournalled(state, GENERATION, AT)?.placement);
    expect(placements[0]).toEqual(PLACEMENT);
    expect(placements.at(-1)).toEqual(next);
    expect(placements.slice(1, -1).filter(Boolean)).toEqual([]);
    expect(states.every((state) => wasReplaced(state, AT))).toBe(true);
  });

  test('torn by a power cut at any word tells whether there was one before', () => {
    const { buffer, end } = sealedBatch('one', 'two');
    const versions = [Buffer.from(buffer)];
    for (const baseSequence of [40, 0]) {
      placeBatch(buffer, AT, end, { ...PLACEMENT, baseSequence });
      versions.push(Buffer.from(buffer));
    }
    const [none, first, second] = versions as [Buffer, Buffer, Buffer];
    const lost = (front: Buffer, back: Buffer, at: number): boolean => {
      const torn = Buffer.concat([front.subarray(0, at), back.subarray(at)]);
      const placed = readJournalled(torn, GENERATION, AT)?.placement && placementIntact(torn, AT);
      return !placed && wasReplaced(torn, AT);
    };
    // A batch starts one byte in front of a word, so its sequence is within one.
    for (let at = AT + 9; at < AT + BATCH_HEADER_BYTES; at += 4) {
      for (const pair of [
        [none, first],
        [first, none],
      ] as const)
        expect(lost(...pair, at)).toBe(false);
      const isWhole = at > AT + 53;
      expect([lost(first, second, at), lost(second, first, at)]).toEqual([!isWhole, !isWhole]);
    }
  });

  test('with any bit of id, epoch or sequence changed is refused by its CRC at the latest', () => {
    const { buffer, end } = sealedBatch('one');
    placeBatch(buffer, AT, end, PLACEMENT);
    for (const field of [...range(17, 21), ...range(43, 57)]) {
      for (let bit = 0; bit < 8; bit++) {
        buffer[AT + field]! ^= 1 << bit;
        const header = readJournalled(buffer, GENERATION, AT)!;
        expect(header.placement && placementIntact(buffer, AT)).toBeFalsy();
        buffer[AT + field]! ^= 1 << bit;
      }
    }
  });
});

describe('the records hash', () => {
  const { buffer, segment, end } = sealedBatch('first', 'second');
  const { words } = segment;
  const whole = hashRecords(buffer, words, GENERATION, AT, end, 2);

  test('is the running hash of the words, finished', () => {
    const from = (AT + BATCH_HEADER_BYTES) >> 2;
    const running = foldWords(recordsSeed(GENERATION, AT, TIME + 7), words, from, end >> 2);
    expect(finishHash(running, words, end, 2)).toBe(whole);
  });

  test('depends on generation, end, count and time', () => {
    const late = Buffer.from(buffer);
    late.writeBigInt64BE(BigInt(TIME) + 2n ** 32n, AT + 27);
    const others = [
      hashRecords(buffer, words, GENERATION + 1, AT, end, 2),
      hashRecords(buffer, words, GENERATION, AT, end - 1, 2),
      hashRecords(buffer, words, GENERATION, AT, end + 1, 2),
      hashRecords(buffer, words, GENERATION, AT, end, 1),
      hashRecords(late, words, GENERATION, AT, end, 2),
    ];
    expect(new Set([whole, ...others]).size).toBe(6);
  });
});

test('a batch sealed after a crash has the time of its youngest record', () => {
  const { buffer, end } = sealedBatch('one', 'two', 'three');
  expect(maxTimestampOf(buffer, AT, end)).toBe(TIME + 21);
  sealBatch(buffer, GENERATION, AT, end, 3, maxTimestampOf(buffer, AT, end), 0);
  expect(readJournalled(buffer, GENERATION, AT)).toMatchObject({ maxTimestamp: TIME + 21 });
});

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}
