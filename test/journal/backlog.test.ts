// Proves the Kafka side of a journal: what is taken and not acknowledged comes again, in order, and a
// segment goes back to its owner once it is read and acknowledged, not before.

import { expect, test } from 'bun:test';
import { Backlog } from '../../src/journal/backlog.ts';
import type { Hole } from '../../src/journal/recovery.ts';
import { FIRST_BATCH_AT, type Segment } from '../../src/journal/segment.ts';
import { Syncer } from '../../src/journal/syncer.ts';
import {
  acknowledgeAll,
  copyAsKilled,
  openJournal,
  takeAll,
  takeValues,
  valuesOf,
} from '../support/journals.ts';
import { batchesOf, memorySegment, Scribe } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';

const TIME = 1_764_145_000_000;

/** A backlog of closed segments, each with batches of one record: `a1 a2`, `b1`. */
class Recorded extends Backlog {
  readonly directory = 'memory';
  readonly released: string[] = [];
  /** The records on either side of each. */
  readonly holes: string[] = [];
  protected readonly syncer: Syncer;
  readonly #names = new Map<Segment, string>();

  /** `unclosed`: of this segment the position of its end is lost. */
  constructor(batches: Readonly<Record<string, number>>, unclosed?: string) {
    super();
    this.syncer = new Syncer({
      syncMs: 3_600_000,
      segments: this.chain,
      sync: () => Promise.resolve(),
      beforeSync: () => {},
      onFailure: () => {},
      onError: () => {},
    });
    for (const [name, count] of Object.entries(batches)) {
      const segment = memorySegment(16_384, this.#names.size + 1);
      const scribe = new Scribe(segment);
      for (let number = 1; number <= count; number++) scribe.write(`${name}${number}`).seal();
      if (name !== unclosed) segment.closed = scribe.next;
      this.#names.set(segment, name);
      this.chain.push(segment);
    }
    this.readFromOldest();
  }

  /** Nothing was written to this segment by now: what stands there is of an earlier life. */
  stale = '';

  protected override endOf(segment: Segment): number {
    return this.#names.get(segment) === this.stale ? FIRST_BATCH_AT : super.endOf(segment);
  }

  protected override release(segment: Segment): void {
    this.released.push(this.#names.get(segment)!);
  }

  protected override noteHole({ before, after, bytes }: Hole): void {
    const text = (value: Uint8Array | undefined): string => Buffer.from(value ?? []).toString();
    this.holes.push(`${text(before)}…${text(after)}${bytes > 0 ? '' : ' perhaps'}`);
  }

  readAgain(): void {
    this.readFromOldest();
  }

  /** As found by a start, with the batch of this record damaged. */
  damage(value: string): void {
    for (const segment of this.chain) {
      segment.recoveredEnd = segment.bytes;
      for (const { values, position, end } of batchesOf(segment)) {
        if (values[0] === value) segment.buffer.fill(0xff, position, end);
      }
    }
  }
}

test('a segment is released once all of it is taken and acknowledged', () => {
  const backlog = new Recorded({ a: 2, b: 1, c: 1 });
  const [a1, a2, b1] = [backlog.take()!, backlog.take()!, backlog.take()!];
  backlog.acknowledge(b1);
  backlog.acknowledge(a2);
  expect(backlog.released).toEqual(['b']);
  const c1 = backlog.take()!;
  backlog.acknowledge(a1);
  expect(backlog.released).toEqual(['b', 'a']);
  expect(backlog.take()).toBeUndefined();
  backlog.acknowledge(c1);
  expect(backlog.released).toEqual(['b', 'a', 'c']);
  expect([backlog.hasUntaken, backlog.backlogBytes]).toEqual([false, 0]);
});

test('without segments there is nothing to take', () => {
  const backlog = new Recorded({});
  expect([backlog.take(), backlog.hasUntaken, backlog.backlogBytes]).toEqual([undefined, false, 0]);
  expect(backlog.oldestTimestamp).toBeUndefined();
});

test('fault 72: acknowledged out of order: after a kill only what lies behind the first gap comes again', async () => {
  using dir = tempDir();
  using other = tempDir();
  await using open = openJournal(dir.path);
  for (const value of ['one', 'two', 'three', 'four']) {
    open.journal.append(value, TIME);
    open.journal.seal();
  }
  const [one, , three] = takeAll(open.journal);
  open.journal.acknowledge(three!);
  open.journal.acknowledge(one!);
  copyAsKilled(dir.path, other.path);
  await using next = openJournal(other.path);
  expect(takeValues(next.journal)).toEqual(['two', 'three', 'four']);
});

for (const [what, word, isLost] of [
  ['over another one', 0xfff00000, true],
  ['for the first time', 0, false],
] as const) {
  test(`a kill while a batch is placed ${what}: it has no placement, ${isLost ? 'and' : 'nor'} had one`, async () => {
    using dir = tempDir();
    using other = tempDir();
    await using open = openJournal(dir.path);
    open.journal.append('one', TIME);
    open.journal.seal();
    const batch = open.journal.take()!;
    const placement = { partition: 3, producerId: 7n, producerEpoch: 0, baseSequence: 12 };
    open.journal.place(batch, placement);
    open.journal.bytesOf(batch).writeUInt32BE(word, 4);
    copyAsKilled(dir.path, other.path);
    await using next = openJournal(other.path);
    expect(next.journal.take()).toMatchObject({ placement: undefined, placementLost: isLost });
  });
}

test('backlog and age follow the acknowledgements', async () => {
  using dir = tempDir();
  await using open = openJournal(dir.path);
  const { journal } = open;
  expect([journal.backlogBytes, journal.oldestTimestamp]).toEqual([0, undefined]);
  journal.append('one', TIME);
  expect(journal.oldestTimestamp).toBe(TIME);
  journal.seal();
  journal.append('two', TIME + 50);
  expect(journal.oldestTimestamp).toBe(TIME);
  const both = journal.backlogBytes;
  const batch = journal.take()!;
  expect([journal.oldestTimestamp, journal.backlogBytes]).toEqual([TIME, both]);
  journal.acknowledge(batch);
  expect(journal.oldestTimestamp).toBe(TIME + 50);
  expect(journal.backlogBytes).toBeLessThan(both);
  journal.seal();
  acknowledgeAll(journal);
  expect([journal.backlogBytes, journal.oldestTimestamp]).toEqual([0, undefined]);
});

test.each([
  ['a2', 'a1…a3'],
  ['a1', '…a2'],
  ['a3', 'a2…b1'],
  ['b1', 'a3…b2'],
])('a damaged batch is passed over and told with the records on either side: %s', (value, hole) => {
  const backlog = new Recorded({ a: 3, b: 2 });
  backlog.damage(value);
  const taken = takeAll(backlog).flatMap((batch) => valuesOf(backlog, batch));
  expect(taken).toEqual(['a1', 'a2', 'a3', 'b1', 'b2'].filter((other) => other !== value));
  expect(backlog.holes).toEqual([hole]);
});

test('damage right behind what Kafka has is told with the last record that Kafka has', () => {
  const first = new Recorded({ a: 3 });
  first.acknowledge(first.take()!);
  first.damage('a2');
  first.readAgain();
  expect(takeAll(first).flatMap((batch) => valuesOf(first, batch))).toEqual(['a3']);
  expect(first.holes).toEqual(['a1…a3']);
});

test('what stands behind the end of a segment is not next to a hole', () => {
  const backlog = new Recorded({ a: 2, b: 1 });
  backlog.damage('a2');
  backlog.stale = 'b';
  expect(takeAll(backlog).flatMap((batch) => valuesOf(backlog, batch))).toEqual(['a1']);
  expect(backlog.holes).toEqual(['a1…']);
});

test('where a segment that was never closed ends, records may be missing in front of the next one', () => {
  const backlog = new Recorded({ a: 2, b: 1 }, 'a');
  backlog.damage('a2');
  expect(takeAll(backlog).flatMap((batch) => valuesOf(backlog, batch))).toEqual(['a1', 'b1']);
  expect(backlog.holes).toEqual(['a1…b1 perhaps']);
});
