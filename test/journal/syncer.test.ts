// The Syncer alone, with a disk that is a function: when it is asked, for what, and what a refusal
// leads to.

import { expect, spyOn, test } from 'bun:test';
import type { Segment } from '../../src/journal/segment.ts';
import { PATIENCE_PIECES, ROUND_MS_MAX, Syncer } from '../../src/journal/syncer.ts';
import { memorySegment } from '../support/segments.ts';
import { waitFor } from '../support/wait-for.ts';

const BYTES = 8192;
const LONG_MS = 3_600_000;

class Disk {
  readonly segments = [memorySegment(BYTES, 1), memorySegment(BYTES, 2), memorySegment(BYTES, 3)];
  readonly steps: string[] = [];
  readonly refused: string[] = [];
  refuse: Segment | undefined;
  hang: Promise<void> | undefined;
  /** Runs inside the fdatasync of a segment. */
  meanwhile: (segment: Segment) => void = () => {};

  constructor() {
    for (const segment of this.segments) segment.dirty = false;
  }

  syncer(syncMs: number): Syncer {
    const nameOf = (segment: Segment): string => `segment ${segment.generation}`;
    return new Syncer({
      syncMs,
      segments: this.segments,
      beforeSync: (segment) => this.steps.push(`note ${nameOf(segment)}`),
      sync: async (segment) => {
        this.meanwhile(segment);
        await this.hang;
        if (segment === this.refuse) throw new Error('EIO');
        this.steps.push(`sync ${nameOf(segment)}`);
      },
      onFailure: (segment, error) => this.refused.push(`${nameOf(segment)}: ${error.message}`),
      onError: (action) => this.steps.push(action),
    });
  }
}

/** Until the scope ends a round is overdue after so many milliseconds. */
function roundsMayTake(ms: number): Disposable {
  const timer = globalThis.setTimeout;
  const piece = ROUND_MS_MAX / PATIENCE_PIECES;
  const spy = spyOn(globalThis, 'setTimeout').mockImplementation(((
    run: () => void,
    after: number,
  ) => timer(run, after === piece ? ms / PATIENCE_PIECES : after)) as typeof setTimeout);
  return { [Symbol.dispose]: () => spy.mockRestore() };
}

test('what was touched is synced, oldest first, each noted right before; the others are left alone', async () => {
  const disk = new Disk();
  const syncer = disk.syncer(1);
  syncer.touch(disk.segments[2]!);
  syncer.touch(disk.segments[0]!);
  await waitFor(() => syncer.rounds > 0, { timeoutMs: 5000, what: 'a round' });
  expect(disk.steps).toEqual([
    'note segment 1',
    'sync segment 1',
    'note segment 3',
    'sync segment 3',
  ]);
  expect(disk.segments.some(({ dirty }) => dirty)).toBe(false);
  expect(syncer.seconds.sum).toBeGreaterThan(0);
});

test('what is written during a round is synced in the next, without another touch', async () => {
  const disk = new Disk();
  const syncer = disk.syncer(1);
  let written = 0;
  disk.meanwhile = (segment) => {
    if (written++ === 0) segment.dirty = true;
  };
  syncer.touch(disk.segments[1]!);
  await waitFor(() => syncer.rounds === 2, { timeoutMs: 5000, what: 'the second round' });
  expect(disk.steps.filter((step) => step === 'sync segment 2').length).toBe(2);
});

test('a segment the disk refuses is reported, and the others are synced', async () => {
  const disk = new Disk();
  const syncer = disk.syncer(LONG_MS);
  disk.refuse = disk.segments[0];
  for (const segment of disk.segments) syncer.touch(segment);
  await syncer.flush();
  expect(disk.refused).toEqual(['segment 1: EIO']);
  expect(disk.steps).toContain('sync segment 2');
  expect(disk.steps).toContain('sync segment 3');
});

test('flush does not wait for the interval, and syncs what came while a round was running', async () => {
  const disk = new Disk();
  const syncer = disk.syncer(LONG_MS);
  syncer.touch(disk.segments[0]!);
  await syncer.flush();
  expect(disk.steps).toEqual(['note segment 1', 'sync segment 1']);
  await syncer.flush();
  expect(disk.steps.length).toBe(2);
});

test('who waits is served by a round that begins at once, and all of one tick by the same', async () => {
  const disk = new Disk();
  const syncer = disk.syncer(LONG_MS);
  syncer.touch(disk.segments[0]!);
  const first = syncer.nextRound;
  const waits = [syncer.ended(first)];
  syncer.touch(disk.segments[1]!);
  expect(syncer.nextRound).toBe(first);
  waits.push(syncer.ended(syncer.nextRound));
  await Promise.all(waits);
  expect(syncer.rounds).toBe(1);
  expect(disk.steps).toContain('sync segment 2');
  expect(syncer.hasEnded(first)).toBe(true);
});

test('what is written while a round is running is served by the next, which follows at once', async () => {
  const disk = new Disk();
  const syncer = disk.syncer(LONG_MS);
  let second: Promise<void> | undefined;
  disk.meanwhile = () => {
    if (second) return;
    // Its pages may be those that the disk has written already.
    disk.segments[0]!.dirty = true;
    second = syncer.ended(syncer.nextRound + 1);
  };
  syncer.touch(disk.segments[0]!);
  await syncer.ended(syncer.nextRound);
  expect(syncer.rounds).toBe(1);
  await second;
  expect(syncer.rounds).toBe(2);
  expect(disk.steps.filter((step) => step === 'sync segment 1').length).toBe(2);
});

test('a segment that the disk refuses keeps nobody waiting', async () => {
  const disk = new Disk();
  const syncer = disk.syncer(LONG_MS);
  disk.refuse = disk.segments[0];
  syncer.touch(disk.segments[0]!);
  await syncer.ended(syncer.nextRound);
  expect(disk.refused).toEqual(['segment 1: EIO']);
});

test('fault 62: a disk that hangs keeps nobody waiting longer than a round may take, later ones not at all', async () => {
  using _ = roundsMayTake(20);
  const disk = new Disk();
  const { promise: hanging, resolve: goOn } = Promise.withResolvers<void>();
  disk.hang = hanging;
  const syncer = disk.syncer(LONG_MS);
  syncer.touch(disk.segments[0]!);
  const round = syncer.nextRound;
  await syncer.ended(round);
  expect(syncer.hasEnded(round)).toBe(false);
  expect(disk.steps).toEqual(['note segment 1', 'fdatasync within 5000 ms']);
  await syncer.ended(syncer.nextRound);
  expect(syncer.givenUp).toBe(2);
  expect(syncer.rounds).toBe(0);
  disk.hang = undefined;
  goOn();
  await waitFor(() => syncer.rounds > 0, { timeoutMs: 4000, what: 'the end of the round' });
  syncer.touch(disk.segments[1]!);
  const next = syncer.nextRound;
  await syncer.ended(next);
  expect(syncer.hasEnded(next)).toBe(true);
  expect(syncer.givenUp).toBe(2);
});

test('a disk that answered while the event loop was blocked has not been too slow', async () => {
  using _limit = roundsMayTake(500);
  const disk = new Disk();
  const syncer = disk.syncer(1);
  const { promise, resolve } = Promise.withResolvers<void>();
  disk.hang = promise;
  disk.meanwhile = () => {
    setImmediate(() => {
      // As a SIGSTOP does; the answer is heard a turn after the timers that are due by then.
      for (const end = performance.now() + 800; performance.now() < end;);
      setImmediate(() => setImmediate(resolve));
    });
  };
  syncer.touch(disk.segments[0]!);
  await waitFor(() => syncer.rounds > 0, { timeoutMs: 20_000, what: 'the round' });
  expect([syncer.givenUp, ...disk.steps]).toEqual([0, 'note segment 1', 'sync segment 1']);
});
