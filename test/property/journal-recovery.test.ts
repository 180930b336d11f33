// For any history of a segment: whatever tears, flips or overwrites its bytes, recovery never throws,
// never returns a record that was not appended there, and loses nothing in front of the damage.

import { describe, expect, setDefaultTimeout, test } from 'bun:test';
import * as fc from 'fast-check';
import type { Placement } from '../../src/journal/journalled-batch.ts';
import { FIRST_BATCH_AT, type Segment } from '../../src/journal/segment.ts';
import { PROPERTY_MAX_MS, runs } from '../support/properties.ts';
import {
  batchesOf,
  bytesOf,
  memorySegment,
  readAfterCrash,
  type ReadBatch,
  Scribe,
  valuesOf,
  zeroed,
} from '../support/segments.ts';
import { anyText } from '../support/texts.ts';

setDefaultTimeout(PROPERTY_MAX_MS);

interface BatchPlan {
  readonly values: readonly string[];
  readonly placement: Placement | undefined;
  /** Behind which record an fdatasync began; past the last = none did. */
  readonly syncedBehind: number;
}

interface History {
  /** What the file held in its last life. */
  readonly before: readonly BatchPlan[];
  readonly batches: readonly BatchPlan[];
  /** Is the last batch still open? */
  readonly open: boolean;
}

const value = fc.oneof(
  anyText.map((text) => text.toWellFormed().slice(0, 30)),
  fc.constant('x'.repeat(64)),
);
const placement: fc.Arbitrary<Placement> = fc.record({
  partition: fc.nat(1000),
  producerId: fc.bigInt({ min: 0n, max: 2n ** 62n }),
  producerEpoch: fc.nat(100),
  baseSequence: fc.nat(2 ** 31 - 1),
});
const plan: fc.Arbitrary<BatchPlan> = fc.record({
  values: fc.array(value, { minLength: 1, maxLength: 6 }),
  placement: fc.option(placement, { nil: undefined }),
  syncedBehind: fc.nat(8),
});
const history: fc.Arbitrary<History> = fc.record({
  before: fc.array(plan, { maxLength: 4 }),
  batches: fc.array(plan, { minLength: 1, maxLength: 5 }),
  open: fc.boolean(),
});

function writePlans(segment: Segment, plans: readonly BatchPlan[], open: boolean): number {
  const scribe = new Scribe(segment);
  for (const [index, { values, placement, syncedBehind }] of plans.entries()) {
    for (const [count, text] of values.entries()) {
      scribe.write(text);
      if (count === syncedBehind) segment.writeSyncedMark(scribe.open.mark());
    }
    if (!open || index < plans.length - 1) scribe.seal(placement);
  }
  return scribe.open.end;
}

const ROOM = 8192;

/** The bytes as the last write left them, and the batches that were appended. */
function written(
  { before, batches, open }: History,
  bytes = ROOM,
): { bytes: Uint8Array; appended: ReadBatch[]; end: number } {
  const segment = memorySegment(bytes, 1);
  writePlans(segment, before, false);
  segment.begin(2);
  const end = writePlans(segment, batches, open);
  return { bytes: bytesOf(segment), appended: [...readAfterCrash(bytesOf(segment)).batches], end };
}

/** Nothing invented, nothing altered, nothing in another place or order. */
function expectPartOf(appended: readonly ReadBatch[], found: readonly ReadBatch[]): void {
  let last = 0;
  for (const batch of found) {
    expect(batch.position).toBeGreaterThan(last);
    last = batch.position;
    const original = appended.find(({ position }) => position === batch.position);
    if (!original)
      throw new Error(`a batch at ${batch.position} that was never there: ${batch.values.join()}`);
    expect(batch.values.length).toBeGreaterThan(0);
    expect(batch.values).toEqual(original.values.slice(0, batch.values.length));
    expect(batch.times).toEqual(original.times.slice(0, batch.values.length));
    if (batch.placement) expect(batch.placement).toEqual(original.placement!);
  }
}

test('any history is found whole after a kill', () => {
  fc.assert(
    fc.property(history, (plans) => {
      const { appended, bytes } = written(plans);
      const all = plans.batches.flatMap(({ values }) => values);
      expect(valuesOf(appended)).toEqual(all);
      const { batches, lostBytes } = readAfterCrash(bytes);
      expect(lostBytes).toBe(0);
      for (const [index, batch] of batches.entries()) {
        const sealed = !plans.open || index < plans.batches.length - 1;
        expect(batch.placement).toEqual(sealed ? plans.batches[index]!.placement : undefined);
      }
    }),
    runs(300),
  );
});

test('fault 65: torn at every byte of its last batch, by zeros or by what was there before, all in front of it is there', () => {
  fc.assert(
    fc.property(history, (plans) => {
      const { appended, bytes, end } = written(plans);
      const old = bytesOf(memorySegmentOf(plans.before));
      const last = appended.at(-1)!;
      for (let tear = last.position; tear <= end; tear++) {
        const overlaid = new Uint8Array(bytes);
        overlaid.set(old.subarray(tear), tear);
        for (const torn of [zeroed(bytes, tear), zeroed(bytes, tear, (tear | 511) + 1), overlaid]) {
          const { batches } = readAfterCrash(torn);
          expectPartOf(appended, batches);
          expect(batches.slice(0, appended.length - 1)).toEqual(appended.slice(0, -1));
        }
      }
    }),
    runs(40),
  );
});

function memorySegmentOf(plans: readonly BatchPlan[]): Segment {
  const segment = memorySegment(ROOM, 1);
  writePlans(segment, plans, false);
  return segment;
}

test('faults 78 and 79: recovered, and recovered again, it is the same to the byte; and what is appended then is found', () => {
  fc.assert(
    fc.property(
      history,
      fc.nat(),
      fc.array(value, { minLength: 1, maxLength: 5 }),
      (plans, seed, more) => {
        const { appended, bytes, end } = written(plans);
        const tear = FIRST_BATCH_AT + (seed % (end - FIRST_BATCH_AT + 1));
        const once = readAfterCrash(zeroed(bytes, tear, tear + 40));
        const twice = readAfterCrash(bytesOf(once.segment));
        expect(bytesOf(twice.segment)).toEqual(bytesOf(once.segment));
        expect(twice.batches).toEqual(once.batches);
        new Scribe(once.segment, once.end).write(...more);
        const later = readAfterCrash(bytesOf(once.segment)).batches;
        expectPartOf(appended, later.slice(0, -1));
        expect(later.slice(0, -1)).toEqual([...once.batches]);
        expect(later.at(-1)!.values).toEqual(more);
      },
    ),
    runs(200),
  );
});

describe('bit flips', () => {
  test('fault 69: of every bit of a small segment cost records and never alter one', () => {
    const plans: History = {
      before: [{ values: ['old', 'older', 'oldest'], placement: undefined, syncedBehind: 9 }],
      batches: [
        { values: ['a1', 'é2', ''], placement: undefined, syncedBehind: 1 },
        {
          values: ['b1', 'b2'],
          placement: { partition: 3, producerId: 9n, producerEpoch: 0, baseSequence: 4 },
          syncedBehind: 0,
        },
        { values: ['c1', '漢2', 'c3'], placement: undefined, syncedBehind: 1 },
      ],
      open: true,
    };
    // No larger than it must be: flips in a mark then point at the very end of the segment.
    const size = (written(plans).end + 24 + 3) & ~3;
    const { bytes, appended } = written(plans, size);
    expect(appended).toHaveLength(3);
    let altered = 0;
    for (let bit = 0; bit < size * 8; bit++) {
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      const { batches, segment } = readAfterCrash(bytes);
      // Without an identity the file is put aside; nothing of it is read.
      if (segment.generation === 2) expectPartOf(appended, batches);
      if (batches.length < 3) altered++;
      bytes[bit >> 3]! ^= 1 << (bit & 7);
    }
    expect(altered).toBeGreaterThan(500);
  });

  test('fault 69: of one bit in any history cost at most the batch they hit', () => {
    fc.assert(
      fc.property(history, fc.nat(), (plans, seed) => {
        const { appended, bytes, end } = written(plans);
        const bit = seed % (end * 8);
        bytes[bit >> 3]! ^= 1 << (bit & 7);
        const { batches } = readAfterCrash(bytes);
        expectPartOf(appended, batches);
        const sealed = plans.open ? appended.slice(0, -1) : appended;
        for (const whole of sealed) {
          if (whole.position <= bit >> 3 && bit >> 3 < whole.end) continue; // the one that was hit
          expect(batches.find(({ position }) => position === whole.position)).toEqual(whole);
        }
      }),
      runs(2000),
    );
  });
});

test('overwritten with anything anywhere, it gives records that were appended or none', () => {
  fc.assert(
    fc.property(
      history,
      fc.nat(ROOM - 1),
      fc.uint8Array({ minLength: 1, maxLength: 64 }),
      (plans, at, noise) => {
        const { appended, bytes } = written(plans);
        bytes.set(noise.subarray(0, ROOM - at), at);
        const { batches, segment } = readAfterCrash(bytes);
        if (segment.generation === 2) expectPartOf(appended, batches);
      },
    ),
    runs(2000),
  );
});

test('a segment of nothing but noise behind its identity is read without a throw, as empty', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 256, maxLength: 2000 }),
      fc.integer(),
      (noise, generation) => {
        const segment = memorySegment(ROOM, generation);
        for (let at = 64; at < ROOM; at += noise.length) {
          segment.buffer.set(noise.subarray(0, Math.min(noise.length, ROOM - at)), at);
        }
        expect(batchesOf(segment)).toEqual([]);
        expect([segment.acknowledged, segment.closed]).toEqual([FIRST_BATCH_AT, undefined]);
      },
    ),
    runs(200),
  );
});
