// Zeros that are really there. Writing to a hole through a mapping is a SIGBUS where the disk is full, which
// ends the process; write(2) only fails. So a new file is written full of zeros, and one that was copied
// without them (cp --sparse) gets them back at a start, as far as it will be written to.

import { write, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Segment } from './segment.ts';

/** No file system has smaller blocks, so none a smaller hole: ext4 1 KiB, XFS 512 bytes. */
const BLOCK_BYTES = 512;
/** No system has larger pages: arm64 up to 64 KiB. A page may hold something and a hole. */
const PAGE_BYTES = 65_536;
/**
 * Of one write. The page cache keeps in one piece what comes in one write, and the first touch of a page
 * behind an fdatasync costs the more the larger its piece is: 4.8 µs with 1 MiB, 1.7 with this, 1.5 with
 * 64 KiB (ext4, Linux 6.18). A write in the background costs 36 µs, so no smaller.
 */
const ZEROS = new Uint8Array(1 << 17);
const writeInBackground = promisify(write);

/**
 * All of a segment that may be written on, which then is no longer `retired`; of one that is closed, and
 * there may be many, the pages of its positions and of its last batch. @throws what a full disk says
 */
export function fillHoles(segment: Segment, descriptor: number): void {
  const { closed, bytes } = segment;
  if (closed === undefined) {
    fill(segment, descriptor, 0, bytes);
    segment.retired = false;
    return;
  }
  fill(segment, descriptor, 0, PAGE_BYTES);
  const lastPage = closed - (closed % PAGE_BYTES);
  fill(segment, descriptor, lastPage, lastPage + PAGE_BYTES);
}

/** Writes zeros where zeros are read, in `[from, to)`. */
function fill({ words, bytes }: Segment, descriptor: number, from: number, to: number): void {
  const end = Math.min(to, bytes);
  let filled = from;
  for (let at = from; at < end; at += BLOCK_BYTES) {
    const block = words.subarray(at / 4, (at + BLOCK_BYTES) / 4);
    if (block.every((word) => word === 0)) continue;
    writeZeros(descriptor, filled, at);
    filled = at + BLOCK_BYTES;
  }
  writeZeros(descriptor, filled, end);
}

/** A disk that fills up may take a part, and say only then that it is full. @throws what it says */
export function writeZeros(descriptor: number, from: number, to: number): void {
  for (let at = from; at < to;) {
    at += writeSync(descriptor, ZEROS, 0, Math.min(ZEROS.length, to - at), at);
  }
}

/** The same off the main thread. */
export async function writeZerosInBackground(
  descriptor: number,
  from: number,
  to: number,
): Promise<void> {
  for (let at = from; at < to;) {
    const length = Math.min(ZEROS.length, to - at);
    const { bytesWritten } = await writeInBackground(descriptor, ZEROS, 0, length, at);
    at += bytesWritten;
  }
}
