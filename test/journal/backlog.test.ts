// Proves the Kafka side of a journal: what is taken and not acknowledged comes again, in order, and a
// segment goes back to its owner once it is read and acknowledged, not before.

import { expect, test } from 'bun:test';
import { Backlog } from '../../src/journal/backlog.ts';
import type { Segment } from '../../src/journal/segment.ts';
import {
  acknowledgeAll,
  copyAsKilled,
  openJournal,
  takeAll,
  takeValues,
} from '../support/journals.ts';
import { memorySegment, Scribe } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';

const TIME = 1_764_145_000_000;

/** A backlog of closed segments, each with batches of one record: `a1 a2`, `b1`. */
class Recorded extends Backlog {
  readonly released: string[] = [];
  readonly #names = new Map<Segment, string>();

  constructor(batches: Readonly<Record<string, number>>) {
    super();
    for (const [name, count] of Object.entries(batches)) {
      const segment = memorySegment(16_384, this.#names.size + 1);
      const scribe = new Scribe(segment);
      for (let number = 1; number <= count; number++) scribe.write(`${name}${number}`).seal();
      segment.closed = scribe.next;
      this.#names.set(segment, name);
      this.chain.push(segment);
    }
    this.readFromOldest();
  }

  protected override touch(): void {}

  protected override release(segment: Segment): void {
    this.released.push(this.#names.get(segment)!);
  }

  protected override noteLost(_segment: Segment, bytes: number): void {
    expect(bytes).toBe(0);
  }
}

test('a segment is released once all of it is acknowledged and the next one is being read', () => {
  const backlog = new Recorded({ a: 2, b: 1, c: 1 });
  const [a1, a2, b1] = [backlog.take()!, backlog.take()!, backlog.take()!];
  backlog.acknowledge(b1);
  backlog.acknowledge(a2);
  expect(backlog.released).toEqual([]);
  const c1 = backlog.take()!;
  expect(backlog.released).toEqual(['b']);
  backlog.acknowledge(a1);
  expect(backlog.released).toEqual(['b', 'a']);
  expect(backlog.hasUntaken).toBe(true);
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

test('acknowledged out of order: after a kill only what lies behind the first gap comes again', async () => {
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
