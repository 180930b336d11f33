// Fault 42, byte by byte: whatever the journal writes into a segment, a kill at any byte of it leaves what
// a start finds as it was before the write or as it is after. So nothing answered is lost, nothing is
// invented, and a batch that was placed, and may have been sent, keeps its place. The same for what
// recovery itself writes, and for a kill in the recovery from a kill.

import { expect, setDefaultTimeout, test } from 'bun:test';
import { type Placement, placeBatch } from '../../src/journal/journalled-batch.ts';
import { recoverTail } from '../../src/journal/recovery.ts';
import { FIRST_BATCH_AT, type Segment } from '../../src/journal/segment.ts';
import { extent } from '../support/extent.ts';
import { statesDuring } from '../support/kill-points.ts';
import { batchesOf, memorySegment, readAfterCrash, reopened, Scribe } from '../support/segments.ts';

setDefaultTimeout(120_000);

const BYTES = 5120;
/** Lengths of the records: every alignment of a batch's end. */
const LENGTHS = [0, 1, 2, 3, 4, 5, 6, 7, 60, 70];

interface Found {
  readonly batches: readonly { values: readonly string[]; placement: Placement | undefined }[];
  readonly acknowledged: number;
  readonly closed: number | undefined;
}

/** What a start makes of these bytes. */
function found(bytes: Uint8Array): Found {
  const { acknowledged, closed } = reopened(bytes);
  const { batches } = readAfterCrash(bytes);
  return {
    batches: batches.map(({ values, placement }) => ({ values, placement })),
    acknowledged,
    closed,
  };
}

function textOf(state: Found): string {
  return JSON.stringify(state, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  );
}

/** Each state during `write` is as the first or as the last; `also`: or as this. Says how many. */
function isAtomic(segment: Segment, what: string, write: () => void, also: string[] = []): number {
  const during = statesDuring(segment, write);
  const [before, after] = [textOf(found(during[0]!)), textOf(found(during.at(-1)!))];
  for (const [index, state] of during.entries()) {
    const now = textOf(found(state));
    if (now === before || now === after || also.includes(now)) continue;
    throw new Error(
      `${what}, killed at state ${index} of ${during.length}:\n${now}\nwas before: ${before}\nis after: ${after}`,
    );
  }
  return during.length;
}

function placement(baseSequence: number): Placement {
  return { partition: 7, producerId: 4711n, producerEpoch: 3, baseSequence };
}

/**
 * All a segment goes through in a life, behind another life's batches; `text`: a record.
 * @returns in how many states it was killed
 */
function life(segment: Segment, text: (number: number) => string): number {
  const scribe = new Scribe(segment);
  let states = 0;
  const step = (what: string, write: () => void): void => {
    states += isAtomic(segment, what, write);
  };
  const place = (at: number, end: number, sequence: number): void =>
    placeBatch(segment.buffer, at, end, placement(sequence));

  step('a new life', () => segment.begin(2));
  expect(found(new Uint8Array(segment.buffer)).batches).toEqual([]);
  for (const number of [1, 2, 3]) step(`append ${number}`, () => scribe.write(text(number)));
  step('a synced mark', () => segment.writeSyncedMark(scribe.open.mark()));
  step('append 4', () => scribe.write(text(4)));
  step('seal', () => scribe.seal());
  const first = batchesOf(segment)[0]!;
  step('append 5, of the next batch', () => scribe.write(text(5)));
  step('place the first', () => place(first.position, first.end, 0));
  step('append 6', () => scribe.write(text(6)));
  step('seal the second', () => scribe.seal());
  const second = batchesOf(segment)[1]!;
  step('place the second', () => place(second.position, second.end, 4));
  step('acknowledge the first', () => {
    segment.acknowledged = first.end | 3;
  });
  step('append 7', () => scribe.write(text(7)));
  step('another synced mark', () => segment.writeSyncedMark(scribe.open.mark()));
  step('seal the third', () => scribe.seal());
  step('close', () => {
    segment.closed = scribe.next;
  });
  step('acknowledge the second', () => {
    segment.acknowledged = second.end | 3;
  });
  expect(found(new Uint8Array(segment.buffer)).batches).toEqual([
    { values: [1, 2, 3, 4].map(text), placement: placement(0) },
    { values: [5, 6].map(text), placement: placement(4) },
    { values: [text(7)], placement: undefined },
  ]);
  return states;
}

function usedSegment(): Segment {
  const segment = memorySegment(BYTES, 1);
  const scribe = new Scribe(segment).write('old 1', 'old 2').seal(placement(90));
  scribe.write('old 3').seal().write('old 4', 'old 5');
  segment.acknowledged = FIRST_BATCH_AT + 100;
  return segment;
}

test.each(LENGTHS)(
  'fault 42: killed at any byte of any write in a life of records of %d bytes, a write is whole or none',
  (length) => {
    const text = (number: number): string => `${number}`.padEnd(length, 'x').slice(0, length);
    expect(life(usedSegment(), text)).toBeGreaterThan(200);
  },
);

test('fault 42: killed at any byte while a batch is given another place, it has the old one, none, or the new', () => {
  const segment = memorySegment(BYTES);
  new Scribe(segment).write('one', 'two').seal(placement(1));
  const { position, end } = batchesOf(segment)[0]!;
  const bytes = new Uint8Array(segment.buffer);
  const { acknowledged, closed } = reopened(bytes);
  const none = { batches: [{ values: ['one', 'two'] }], acknowledged, closed };
  isAtomic(
    segment,
    'another place',
    () => placeBatch(segment.buffer, position, end, { ...placement(2), producerId: 4712n }),
    [JSON.stringify(none)],
  );
});

/** A segment as a kill left it: with an open batch behind two sealed ones, one of them placed. */
function crashed(): Segment {
  const segment = usedSegment();
  segment.begin(2);
  const scribe = new Scribe(segment).write('a1', 'a2').seal(placement(5)).write('b1').seal();
  segment.writeSyncedMark(scribe.write('c1').open.mark());
  scribe.write('c2', 'c3');
  return segment;
}

const CRASHED = [
  { values: ['a1', 'a2'], placement: placement(5) },
  { values: ['b1'], placement: undefined },
  { values: ['c1', 'c2', 'c3'], placement: undefined },
];

test('fault 43: killed at any byte of what recovery writes, and of what that recovery writes, all is found', () => {
  let recoveries = 0;
  const killed = (bytes: Uint8Array, depth: number): void => {
    const segment = reopened(bytes);
    const left = statesDuring(segment, () => {
      recoverTail([segment]);
      segment.retireMarks();
    });
    const every = depth === 1 ? 1 : extent(17, 3);
    for (const [index, state] of left.entries()) {
      if (index % every !== 0) continue;
      recoveries++;
      expect(found(state).batches).toEqual(CRASHED);
      if (depth < 2) killed(state, depth + 1);
    }
  };
  killed(new Uint8Array(crashed().buffer), 1);
  expect(recoveries).toBeGreaterThan(100);
});
