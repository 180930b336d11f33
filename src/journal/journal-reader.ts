// Reads a journal that another process may be writing: on copies of its files, changing nothing and
// taking no lock. For `tail` in local mode.
//
// A copy is not made in one instant: what was written meanwhile may be in it in part, and look like
// damage, or like an end. So a gap, or a successor to a segment that is not closed, is believed only
// when a second copy shows the same.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BATCH_HEADER_BYTES, readRecords } from '../record-batch.ts';
import { batchStart } from './journalled-batch.ts';
import { findBatch } from './recovery.ts';
import { FIRST_BATCH_AT, Segment } from './segment.ts';
import { readHead } from './segment-head.ts';

export class JournalReader {
  readonly #directory: string;
  // What was read already: segments below this generation, in it the batches below `#position`, and
  // of the batch there `#count` records.
  #generation = 0;
  #position = FIRST_BATCH_AT;
  #count = 0;
  /** What looked wrong in the last pass, and where. */
  #suspicion = '';

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The values appended since the last call, oldest first. @throws what readdir throws */
  *read(): Generator<Uint8Array> {
    let suspicion: string;
    do {
      suspicion = this.#suspicion;
      this.#suspicion = '';
      yield* this.#pass(suspicion);
    } while (this.#suspicion !== '' && this.#suspicion !== suspicion);
  }

  *#pass(confirmed: string): Generator<Uint8Array> {
    let unclosed = false;
    for (const { path, generation } of this.#segments()) {
      const segment = new Segment(path, readFileSync(path));
      segment.recoveredEnd = segment.bytes;
      // Recycled since it was listed: it has moved to the end of the line.
      if (segment.generation !== generation || segment.untouched) continue;
      if (generation > this.#generation) {
        // It was closed before this one got its first record: the copy is older than that.
        if (unclosed && this.#suspect('not closed', confirmed)) return;
        this.#generation = generation;
        this.#position = FIRST_BATCH_AT;
        this.#count = 0;
      }
      yield* this.#readSegment(segment, confirmed);
      if (this.#suspicion !== '') return;
      unclosed = segment.closed === undefined;
    }
  }

  *#readSegment(segment: Segment, confirmed: string): Generator<Uint8Array> {
    for (;;) {
      const found = findBatch(segment, this.#position, segment.writtenEnd);
      if (!found) {
        if (this.#position < (segment.closed ?? 0)) this.#suspect('no end', confirmed);
        return;
      }
      if (found.lostBytes > 0 && this.#suspect('gap', confirmed)) return;
      if (found.position !== this.#position) this.#count = 0;
      this.#position = found.position;
      yield* this.#newRecords(segment, found.position, found.header.end);
      const next = batchStart(found.header.end);
      if (!this.#isComplete(segment, next, confirmed)) return;
      this.#position = next;
      this.#count = 0;
    }
  }

  *#newRecords(segment: Segment, position: number, end: number): Generator<Uint8Array> {
    let index = 0;
    for (const { value } of readRecords(segment.buffer, position + BATCH_HEADER_BYTES, end)) {
      index++;
      if (index <= this.#count) continue;
      this.#count = index;
      yield value;
    }
  }

  /**
   * Is the batch that ended in front of `next` all there is of it? The newest may still grow; and so
   * may one in front of a gap, if the copy caught only its beginning.
   */
  #isComplete(segment: Segment, next: number, confirmed: string): boolean {
    if (next === segment.closed) return true;
    const following = findBatch(segment, next, segment.writtenEnd);
    if (!following) return false;
    return following.lostBytes === 0 || !this.#suspect('gap', confirmed);
  }

  /** True = not believed yet: look again. */
  #suspect(what: string, confirmed: string): boolean {
    const suspicion = `${what} at ${this.#generation}:${this.#position}:${this.#count}`;
    if (suspicion === confirmed) return false;
    this.#suspicion = suspicion;
    return true;
  }

  /** Not yet finished segments, oldest first. */
  #segments(): { path: string; generation: number }[] {
    return readdirSync(this.#directory)
      .filter((name) => name.endsWith('.segment'))
      .map((name) => join(this.#directory, name))
      .map((path) => ({ path, generation: readHead(path).generation }))
      .filter(({ generation }) => generation > 0 && generation >= this.#generation)
      .toSorted((a, b) => a.generation - b.generation);
  }
}
