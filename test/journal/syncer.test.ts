// The Syncer alone, with a disk that is a function: when it is asked, for what, and what a refusal
// leads to.

import { expect, test } from 'bun:test';
import type { Segment } from '../../src/journal/segment.ts';
import { Syncer } from '../../src/journal/syncer.ts';
import { memorySegment } from '../support/segments.ts';
import { waitFor } from '../support/wait-for.ts';

const BYTES = 8192;
const LONG_MS = 3_600_000;

class Disk {
  readonly segments = [memorySegment(BYTES, 1), memorySegment(BYTES, 2), memorySegment(BYTES, 3)];
  readonly steps: string[] = [];
  readonly refused: string[] = [];
  refuse: Segment | undefined;
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
        if (segment === this.refuse) throw new Error('EIO');
        this.steps.push(`sync ${nameOf(segment)}`);
      },
      onFailure: (segment, error) => this.refused.push(`${nameOf(segment)}: ${error.message}`),
    });
  }
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
  expect(syncer.seconds).toBeGreaterThan(0);
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
