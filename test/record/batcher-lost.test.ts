// Records that are not written: a journal that is full, a record larger than a batch, a user's function
// that throws, whatever it throws. Each is in exactly one range of sequence numbers that is reported,
// and takes no neighbour with it.

import { describe, expect, spyOn, test } from 'bun:test';
import type { RecordKind } from '../../src/record/record-kind.ts';
import { acknowledgeAll, fillUp, takeValues } from '../support/journals.ts';
import { microtask, Recording } from '../support/recording.ts';
import { waitFor } from '../support/wait-for.ts';

describe('what is lost', () => {
  const bootOf = ({ batcher }: Recording) => ({ bootId: batcher.bootId });

  test('a record whose complete() throws takes no neighbour with it', async () => {
    await using recording = new Recording();
    for (const query of ['n=1', 'complete=broken', 'n=3']) recording.record(query);
    await microtask();
    expect(recording.lost).toEqual([
      {
        ...bootOf(recording),
        cause: 'complete() failed',
        firstSequence: 2,
        lastSequence: 2,
        count: 1,
        detail: 'broken',
      },
    ]);
    expect(recording.sealedValues()).toEqual([1, 3]);
    expect(recording.batcher.counters).toMatchObject({ captured: 3, failed: 1 });
  });

  test('capture() that throws does not reach the handler, nor the neighbours', async () => {
    await using recording = new Recording();
    for (const query of ['n=1', 'capture=broken', 'n=3']) recording.record(query);
    await microtask();
    expect(recording.sealedValues()).toEqual([1, 3]);
    expect(recording.batcher.counters.failed).toBe(1);
    expect(recording.lost).toMatchObject([{ firstSequence: 2, detail: 'broken' }]);
  });

  const THROWN = { undefined, null: null, text: 'text', object: {}, bare: Object.create(null) };
  for (const [what, thrown] of Object.entries<unknown>(THROWN)) {
    test(`a user’s function may throw what is no Error: ${what}`, async () => {
      const throwing = (captured: unknown): unknown => {
        if (captured === 2) throw thrown;
        return captured;
      };
      let number = 0;
      const kind: RecordKind<unknown> = { capture: () => ++number, complete: throwing };
      await using recording = new Recording({ kind });
      for (let times = 3; times > 0; times--) recording.record('');
      await microtask();
      expect(recording.sealedValues()).toEqual([1, 3]);
      const capture = (): unknown => throwing(2);
      await using early = new Recording({ kind: { capture, complete: () => 1 } });
      early.record('');
      expect(early.batcher.counters.failed).toBe(1);
    });
  }

  test('a run of losses is one range, with its first and last sequence', async () => {
    await using recording = new Recording();
    for (const query of ['n=1', 'complete=a', 'complete=b', 'complete=c', 'n=5', 'complete=d']) {
      recording.record(query);
    }
    await microtask();
    recording.batcher.flush();
    const range = { ...bootOf(recording), cause: 'complete() failed' };
    expect(recording.lost).toMatchObject([
      { ...range, firstSequence: 2, lastSequence: 4, count: 3, detail: 'a' },
      { ...range, firstSequence: 6, lastSequence: 6, count: 1 },
    ]);
  });

  test('a full journal drops and counts, and the range ends when there is room again', async () => {
    await using recording = new Recording();
    const filler = await fillUp(recording.open, () => '0');
    expect(filler).toBeGreaterThan(100);
    for (let n = 1; n <= 3; n++) recording.record(`n=${n}`);
    await microtask();
    expect(recording.batcher.counters.dropped).toBe(3);
    expect(recording.lost).toEqual([]);
    acknowledgeAll(recording.open.journal);
    await waitFor(() => !recording.open.journal.full, { timeoutMs: 3000, what: 'room' });
    recording.record('n=4');
    await microtask();
    expect(recording.lost).toEqual([
      {
        ...bootOf(recording),
        cause: 'journal full',
        firstSequence: 1,
        lastSequence: 3,
        count: 3,
      },
    ]);
    expect(recording.sealedValues()).toEqual([4]);
  });

  test('a record larger than a batch is counted apart, and its neighbours are kept', async () => {
    const kind: RecordKind<unknown> = {
      capture: (request: Request) => Number(new URL(request.url).searchParams.get('n')),
      complete: (n) => 'x'.repeat(Number(n)),
    };
    await using recording = new Recording({ kind });
    for (const bytes of [10, 5000, 20]) recording.record(`n=${bytes}`);
    await microtask();
    expect(recording.batcher.counters).toMatchObject({ oversize: 1, dropped: 0, failed: 0 });
    recording.batcher.flush();
    const values = takeValues(recording.open.journal);
    expect(values.map((value) => value.length - 2)).toEqual([10, 20]);
    expect(recording.lost).toMatchObject([{ cause: 'oversize', firstSequence: 2, count: 1 }]);
  });

  test('losses of different causes are different ranges', async () => {
    const kind: RecordKind<unknown> = {
      capture: (request: Request) => new URL(request.url).searchParams.get('n'),
      complete: (n) => {
        if (n === 'throw') throw new Error('mine');
        return 'x'.repeat(Number(n));
      },
    };
    await using recording = new Recording({ kind });
    for (const n of ['throw', '5000', '5000', 'throw']) recording.record(`n=${n}`);
    await microtask();
    recording.batcher.flush();
    expect(recording.lost.map(({ cause, count }) => [cause, count])).toEqual([
      ['complete() failed', 1],
      ['oversize', 2],
      ['complete() failed', 1],
    ]);
  });

  test('a range that keeps growing is reported every 10 s', async () => {
    await using recording = new Recording();
    using timers = spyOn(globalThis, 'setTimeout');
    recording.record('complete=a');
    recording.record('complete=b');
    await microtask();
    const [report] = timers.mock.calls.find(([, ms]) => ms === 10_000) ?? [];
    expect(recording.lost).toEqual([]);
    (report as () => void)();
    expect(recording.lost).toMatchObject([{ firstSequence: 1, lastSequence: 2, count: 2 }]);
    recording.record('complete=c');
    await microtask();
    recording.batcher.flush();
    expect(recording.lost[1]).toMatchObject({ firstSequence: 3, lastSequence: 3, count: 1 });
  });

  test('each lost record is in exactly one range, whatever the mixture', async () => {
    await using recording = new Recording();
    const queries = Array.from(
      { length: 60 },
      (_, n) => ['n=1', `complete=${n}`, `capture=${n}`][(n * 7919) % 3]!,
    );
    for (const [index, query] of queries.entries()) {
      recording.record(query);
      if (index % 5 === 0) await microtask();
    }
    await microtask();
    recording.batcher.flush();
    const sequences = recording.lost.flatMap(({ firstSequence, lastSequence, count }) => {
      expect(count).toBe(lastSequence - firstSequence + 1);
      return Array.from({ length: count }, (_, index) => firstSequence + index);
    });
    const expected = queries.flatMap((query, index) => (query === 'n=1' ? [] : [index + 1]));
    expect(sequences.toSorted((a, b) => a - b)).toEqual(expected);
  });
});
