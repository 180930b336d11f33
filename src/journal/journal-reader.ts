// Reads a journal that another process may be writing: on copies of its files, changing nothing and
// taking no lock. For `tail` in local mode.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BATCH_HEADER_BYTES, readRecords } from '../record-batch.ts';
import { batchStart } from './journalled-batch.ts';
import { findBatch } from './recovery.ts';
import { FIRST_BATCH_AT, Segment } from './segment.ts';

export class JournalReader {
  readonly #directory: string;
  // What was read already: segments below this generation, and in it batches below `#position`, and
  // of the batch there `#count` records.
  #generation = 0;
  #position = FIRST_BATCH_AT;
  #count = 0;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The values appended since the last call, oldest first. @throws what readdir throws */
  *read(): Generator<Uint8Array> {
    for (const segment of this.#segments()) {
      if (segment.generation > this.#generation) {
        this.#generation = segment.generation;
        this.#position = FIRST_BATCH_AT;
        this.#count = 0;
      }
      yield* this.#readSegment(segment);
    }
  }

  *#readSegment(segment: Segment): Generator<Uint8Array> {
    for (;;) {
      const found = findBatch(segment, this.#position, segment.bytes);
      if (!found) return;
      if (found.position !== this.#position) this.#count = 0;
      this.#position = found.position;
      const { end, recordCount } = found.header;
      const records = readRecords(segment.buffer, found.position + BATCH_HEADER_BYTES, end);
      let index = 0;
      for (const { value } of records) {
        if (index++ < this.#count) continue;
        this.#count = index;
        yield value;
      }
      // An open batch may still grow; the newest is asked again, by its count.
      const next = batchStart(end);
      if (!findBatch(segment, next, Math.min(next + 1, segment.bytes))) {
        this.#count = recordCount;
        return;
      }
      this.#position = next;
      this.#count = 0;
    }
  }

  #segments(): Segment[] {
    return readdirSync(this.#directory)
      .filter((name) => name.endsWith('.segment'))
      .map((name) => join(this.#directory, name))
      .map((path) => new Segment(path, copyOf(path)))
      .map((segment) => Object.assign(segment, { recoveredEnd: segment.bytes }))
      .filter(({ generation, untouched }) => generation >= this.#generation && generation > 0 && !untouched)
      .toSorted((a, b) => a.generation - b.generation);
  }
}

/** Its own memory, word-aligned: a small file may come in a shared pool. */
function copyOf(path: string): Uint8Array {
  const bytes = readFileSync(path);
  return new Uint8Array(bytes.subarray(0, bytes.length & ~3));
}
