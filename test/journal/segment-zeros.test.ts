// Proves that after it a sparse copy of a segment has blocks wherever it will be written to, and reads as
// before. What a full disk makes of the rest is in faults/disk-start.test.ts.

import { expect, test } from 'bun:test';
import { closeSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Segment } from '../../src/journal/segment.ts';
import { fillHoles } from '../../src/journal/segment-zeros.ts';
import { disksUnavailable, loopDisk } from '../support/disks.ts';
import { memorySegment, Scribe } from '../support/segments.ts';

const BYTES = 2 ** 20;
const BLOCK_BYTES = 1024;
/** Of the system with the largest pages. */
const PAGE_BYTES = 65_536;

const reason = disksUnavailable();
if (reason !== undefined) process.stderr.write(`SKIPPED holes of segments: ${reason}\n`);

/** Some batches, the last one in the middle of the file. */
function written(): { segment: Segment; end: number } {
  const segment = memorySegment(BYTES, 1);
  const scribe = new Scribe(segment);
  while (scribe.next < BYTES / 2) scribe.write('x'.repeat(900)).seal();
  return { segment, end: scribe.next };
}

/** A copy without its zeros, on a file system with blocks of 1 KiB. */
function sparse(directory: string, { buffer }: Segment): string {
  const path = join(directory, 'segment');
  const descriptor = openSync(path, 'w');
  for (let at = 0; at < BYTES; at += BLOCK_BYTES) {
    const block = buffer.subarray(at, at + BLOCK_BYTES);
    if (block.some((byte) => byte !== 0)) writeSync(descriptor, block, 0, BLOCK_BYTES, at);
  }
  closeSync(descriptor);
  Bun.spawnSync(['truncate', '--size', String(BYTES), path]);
  return path;
}

function filled(path: string): Segment {
  // Not mapped: a mapping would keep the disk mounted.
  const segment = new Segment(path, readFileSync(path));
  segment.retired = true;
  const descriptor = openSync(path, 'r+');
  fillHoles(segment, descriptor);
  closeSync(descriptor);
  Bun.spawnSync(['sync', '--file-system', path]);
  return segment;
}

function allocated(path: string): number {
  return statSync(path).blocks * 512;
}

test.skipIf(reason !== undefined)('one that may be written on gets all its blocks', () => {
  using disk = loopDisk({ bytes: 16 * 2 ** 20 });
  const { segment } = written();
  const path = sparse(disk.path, segment);
  expect(allocated(path)).toBeLessThan(BYTES);
  expect(filled(path).retired).toBe(false);
  expect(allocated(path)).toBeGreaterThanOrEqual(BYTES);
  expect(readFileSync(path).equals(segment.buffer)).toBe(true);
});

test.skipIf(reason !== undefined)(
  'a closed one gets those of its first page and of its last batch',
  () => {
    using disk = loopDisk({ bytes: 16 * 2 ** 20 });
    const { segment, end } = written();
    segment.closed = end;
    const path = sparse(disk.path, segment);
    expect(filled(path).retired).toBe(true);
    // No more than that, and between the two nothing is a hole.
    const pages = Math.ceil(end / PAGE_BYTES);
    expect(allocated(path)).toBeGreaterThanOrEqual(pages * PAGE_BYTES);
    expect(allocated(path)).toBeLessThan((pages + 1) * PAGE_BYTES);
    expect(readFileSync(path).equals(segment.buffer)).toBe(true);
  },
);
