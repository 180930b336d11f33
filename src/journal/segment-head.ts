// What a segment file says of itself in its first page: read where mapping the file would be too much.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { hasNoMarks, readGeneration } from './segment.ts';

const HEAD_BYTES = 4096;

export interface SegmentHead {
  /** Of the file. */
  readonly bytes: number;
  /** 0 = no valid identity. */
  readonly generation: number;
  /** Nothing was ever appended. */
  readonly untouched: boolean;
}

/** @throws what `open` or `read` says */
export function readHead(path: string): SegmentHead {
  const descriptor = openSync(path, 'r');
  try {
    const words = new Int32Array(HEAD_BYTES / 4);
    readSync(descriptor, words, 0, HEAD_BYTES, 0);
    const bytes = fstatSync(descriptor).size;
    return { bytes, generation: readGeneration(words, bytes), untouched: hasNoMarks(words) };
  } finally {
    closeSync(descriptor);
  }
}
