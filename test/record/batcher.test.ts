// From the handler to the journal: nothing is appended inside the handler, everything before the next
// macrotask (which is when Bun writes the answer: test/crash/answer-order.test.ts); a batch is sealed
// at the latest flushIntervalMs after its first record. What is not written: batcher-lost.test.ts.

import { describe, expect, spyOn, test } from 'bun:test';
import type { RecordKind, RequestContext } from '../../src/record/record-kind.ts';
import { takeAll } from '../support/journals.ts';
import { microtask, Recording } from '../support/recording.ts';
import { ANSWER, REMOTE, requestTo, serverKnowing } from '../support/requests.ts';
import { patience } from '../support/patience.ts';
import { waitFor } from '../support/wait-for.ts';

describe('the moment of the append', () => {
  test('is not inside the handler', async () => {
    await using recording = new Recording();
    recording.record('n=1');
    recording.record('n=2');
    expect(recording.appended).toBe(0);
    await microtask();
    expect(recording.appended).toBe(2);
  });

  const LATER_TICKS: Readonly<Record<string, (task: () => void) => void>> = {
    setImmediate: (task) => void setImmediate(task),
    'setTimeout 0': (task) => void setTimeout(task, 0),
    MessageChannel: (task) => {
      const { port1, port2 } = new MessageChannel();
      port2.addEventListener('message', () => {
        port1.close();
        task();
      });
      port2.start();
      port1.postMessage(0);
    },
  };
  for (const [name, schedule] of Object.entries(LATER_TICKS)) {
    test(`is before ${name}, even one scheduled before the request`, async () => {
      await using recording = new Recording();
      const { promise, resolve } = Promise.withResolvers<number>();
      schedule(() => resolve(recording.appended));
      recording.record('n=1');
      expect(await promise).toBe(1);
    });
  }

  test('keeps the order of the requests, over many ticks', async () => {
    await using recording = new Recording();
    for (let n = 0; n < 30; n++) {
      recording.record(`n=${n}`);
      if (n % 7 === 0) await microtask();
    }
    await microtask();
    expect(recording.sealedValues()).toEqual(Array.from({ length: 30 }, (_, n) => n));
  });

  test('a record has the time of its handler', async () => {
    await using recording = new Recording();
    const before = Date.now();
    recording.record('n=1');
    await microtask();
    recording.batcher.flush();
    const [batch] = takeAll(recording.open.journal);
    expect(batch?.baseTimestamp).toBeWithin(before, Date.now() + 1);
  });
});

describe('sealing', () => {
  test('happens flushIntervalMs after the first record, however many follow', async () => {
    const flushIntervalMs = 80;
    await using recording = new Recording({ flushIntervalMs });
    const { journal } = recording.open;
    const startedAt = performance.now();
    let sealedAt = 0;
    journal.onSealed = () => {
      sealedAt ||= performance.now();
    };
    let n = 0;
    await waitFor(
      () => {
        recording.record(`n=${n++}`);
        return sealedAt > 0;
      },
      { timeoutMs: 3000, what: 'the seal', intervalMs: 5 },
    );
    expect(n).toBeGreaterThan(2);
    // Not before (a timer may be 1 ms early), and not put off by the records that followed.
    expect(sealedAt - startedAt).toBeWithin(
      flushIntervalMs - 2,
      flushIntervalMs + 400 * patience(),
    );
  });

  test('leaves a batch that was begun when another one was full its own time', async () => {
    const flushIntervalMs = 1000;
    await using recording = new Recording({ flushIntervalMs });
    const { journal } = recording.open;
    const seals: { at: number; records: number }[] = [];
    let begun = 0;
    const count = (): number =>
      recording.appended - seals.reduce((sum, { records }) => sum + records, 0);
    journal.onSealed = () => void seals.push({ at: performance.now(), records: count() });
    recording.record('n=0');
    await waitFor(() => recording.appended === 1, { timeoutMs: 1000, what: 'it' });
    const firstAt = performance.now();
    await waitFor(() => performance.now() - firstAt > flushIntervalMs / 2, {
      timeoutMs: 1000,
      what: 'half its time',
      intervalMs: 5,
    });
    // 1 KiB of records: sealed by size, in the middle of the first timer.
    for (let n = 0; seals.length === 0; n++) {
      recording.record(`n=${n}`);
      await microtask();
      begun = performance.now();
    }
    await waitFor(() => seals.length === 2, { timeoutMs: 3000, what: 'the second seal' });
    expect(seals[1]!.at - begun).toBeWithin(
      flushIntervalMs - 3,
      flushIntervalMs + 400 * patience(),
    );
  });

  test('on demand closes the open batch at once', async () => {
    await using recording = new Recording();
    recording.record('n=1');
    await microtask();
    expect(recording.open.journal.openRecords).toBe(1);
    recording.batcher.flush();
    expect(recording.open.journal.openRecords).toBe(0);
    expect(recording.open.journal.counters.sealed).toBe(1);
  });

  test('arms one timer for a batch, and none where nothing is open', async () => {
    await using recording = new Recording({ flushIntervalMs: 20 });
    using timers = spyOn(globalThis, 'setTimeout');
    const armed = (): number => timers.mock.calls.filter(([, ms]) => (ms ?? 0) <= 20).length;
    for (let n = 0; n < 20; n++) recording.record(`n=${n}`);
    await microtask();
    recording.record('n=20');
    await microtask();
    expect(armed()).toBe(1);
    recording.batcher.flush();
    await microtask();
    expect(armed()).toBe(1);
  });
});

describe('identity', () => {
  test('ids are boot id and sequence, without a gap; boot ids are new each time', async () => {
    const ids: string[] = [];
    const kind: RecordKind<unknown> = {
      capture: (_request: Request, context: RequestContext) => void ids.push(context.id),
      complete: () => 1,
    };
    await using recording = new Recording({ kind });
    await using other = new Recording({ kind });
    recording.record('');
    recording.record('');
    other.record('');
    const { bootId } = recording.batcher;
    expect(bootId).toMatch(/^[0-9a-f]{16}$/);
    expect(ids).toEqual([`${bootId}-1`, `${bootId}-2`, `${other.batcher.bootId}-1`]);
    expect(other.batcher.bootId).not.toBe(bootId);
  });

  test('capture sees its own request’s client and answer', async () => {
    const seen: unknown[] = [];
    const kind: RecordKind<unknown> = {
      capture: (_request, { remoteAddress, remote, status, location, outcome }) =>
        void seen.push({ remoteAddress, remote, status, location, outcome }),
      complete: () => 1,
    };
    await using recording = new Recording({ kind });
    const other = { address: '2001:db8::1', port: 9, family: 'IPv6' } as const;
    const link = { status: 308, location: 'https://l/', outcome: 'link' };
    recording.batcher.record(requestTo(), serverKnowing(REMOTE), ANSWER);
    recording.batcher.record(requestTo(), serverKnowing(other), link);
    recording.batcher.record(requestTo(), serverKnowing(null), ANSWER);
    expect(seen).toEqual([
      { remoteAddress: '203.0.113.7:51234', remote: REMOTE, ...ANSWER },
      { remoteAddress: '[2001:db8::1]:9', remote: other, ...link },
      { remoteAddress: '', remote: expect.anything(), ...ANSWER },
    ]);
  });
});
