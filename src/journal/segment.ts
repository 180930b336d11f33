// One file of the journal, mapped into memory. It is created full of real zeros and recycled under a new
// generation; while it is written to it is never truncated or unmapped (a hole in a mapped file on a full
// disk is a SIGBUS, and that kills the process). It is deleted once it is done with and of no more use:
// retired, of another size, or of a journal that nobody writes to.
//
//   at     bytes  content (little-endian 32-bit words; batches themselves are big-endian)
//      0      32  identity: magic, version, generation, bytes, check
//     64   2 × 32 live marks: the open batch after each append, alternating
//    128   2 × 32 synced marks: the open batch as it was when an fdatasync began, alternating
//    192   2 × 8  acknowledged position: all batches below are Kafka's; alternating
//    208   2 × 8  closed position: no batch begins at or behind it; alternating
//   2048      32  identity, second copy
//   4099          first batch; the next starts at the first position = 3 modulo 4 behind it
//
// A mark = batch position, end, record count, records hash. Alternating slots, because a kill may
// fall between two writes: the older slot then still tells the truth as of one append earlier, and
// that append's request has not been answered. A mark proves itself by the hash of the records it
// claims, a position by a check word; both are seeded with the generation, so what a recycled file
// still holds from its last life never counts.
//
// Generations order the files: the batch that was appended later is in the file with the higher one.

import { foldWord, HASH_SEED } from '../bytes.ts';
import { BATCH_HEADER_BYTES } from '../record-batch.ts';
import { batchStart, hashRecords } from './journalled-batch.ts';

export const FIRST_BATCH_AT = 4099;
const FORMAT_VERSION = 1;
const MAGIC = 0x676f6c68; // "hlog"
const IDENTITY_AT = [0, 2048] as const;
const LIVE_MARKS_AT = 64;
const SYNCED_MARKS_AT = 128;
const MARK_BYTES = 32;
/** A mark's position where no batch can be. */
const RETIRED = 1;
const ACKNOWLEDGED_AT = 192;
const CLOSED_AT = 208;

/** The state of an open batch: `count` records, the last one ending at `end`. */
export interface Mark {
  readonly position: number;
  readonly end: number;
  readonly count: number;
  readonly hash: number;
}

export class Segment {
  readonly path: string;
  readonly buffer: Buffer;
  readonly words: Int32Array;
  generation: number;
  /** Written since the last fdatasync began. */
  dirty = false;
  /** Nothing is appended any more: its batches are delivered, then it is deleted. */
  retired = false;
  /**
   * An fdatasync of it failed: the kernel has dropped what it could not write, and to the next one would
   * say yes. So there is none.
   */
  refused = false;
  /** Batches below were found after a start: not written by this process, so checked when read. */
  recoveredEnd = FIRST_BATCH_AT;
  #slot = 0;
  // As written: looking for them in the memory itself may mean a read from the disk.
  #acknowledged: number | undefined;
  #closed: number | undefined;

  constructor(path: string, bytes: Uint8Array) {
    this.path = path;
    this.buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
    this.generation = readGeneration(this.words, bytes.byteLength);
    this.#acknowledged = this.#readPosition(ACKNOWLEDGED_AT);
    this.#closed = this.#readPosition(CLOSED_AT);
  }

  get bytes(): number {
    return this.buffer.length;
  }

  /**
   * Starts a new life. The generation goes first: a kill behind it leaves marks and positions that
   * no longer prove themselves, in front of it an untouched old segment.
   */
  begin(generation: number): void {
    for (const at of IDENTITY_AT) writeIdentity(this.words, at, generation, this.bytes);
    this.generation = generation;
    this.words.fill(0, LIVE_MARKS_AT >> 2, (CLOSED_AT + 16) >> 2);
    this.#acknowledged = undefined;
    this.#closed = undefined;
    this.recoveredEnd = FIRST_BATCH_AT;
    this.dirty = true;
  }

  /** Hot path, once per append: four words. */
  writeLiveMark(position: number, end: number, count: number, hash: number): void {
    writeMark(this.words, LIVE_MARKS_AT + (count & 1) * MARK_BYTES, position, end, count, hash);
  }

  writeSyncedMark(mark: Mark): void {
    this.#slot ^= 1;
    const at = SYNCED_MARKS_AT + this.#slot * MARK_BYTES;
    writeMark(this.words, at, mark.position, mark.end, mark.count, mark.hash);
  }

  /**
   * All batches are sealed: no mark may speak for what is appended over damaged ones. Not zeros, for
   * those mean that nothing was ever appended.
   */
  retireMarks(): void {
    for (const at of [LIVE_MARKS_AT, SYNCED_MARKS_AT]) {
      for (const slot of [0, 1]) writeMark(this.words, at + slot * MARK_BYTES, RETIRED, 0, 0, 0);
    }
    this.dirty = true;
  }

  get acknowledged(): number {
    return this.#acknowledged ?? FIRST_BATCH_AT;
  }

  set acknowledged(position: number) {
    this.#acknowledged = position;
    this.#writePosition(ACKNOWLEDGED_AT, position);
  }

  /** Where the last batch ends, once another segment took over; undefined while it may grow. */
  get closed(): number | undefined {
    return this.#closed;
  }

  set closed(position: number) {
    this.#closed = position;
    this.#writePosition(CLOSED_AT, position);
  }

  /** No batch begins at or behind it. Unproven while the segment may grow: an upper bound. */
  get writtenEnd(): number {
    const ends = [0, 1].map((slot) => this.words[(LIVE_MARKS_AT + slot * MARK_BYTES) / 4 + 1]!);
    const end = Math.max(...ends);
    // Right after a start the marks are retired and tell nothing.
    const bound = end < FIRST_BATCH_AT ? this.bytes : Math.min(this.bytes, batchStart(end));
    return this.closed ?? bound;
  }

  /** Neither a segment nor the zeros of one that was never begun. */
  get damaged(): boolean {
    return this.generation === 0 && this.words.some((word) => word !== 0);
  }

  /** Begun, and nothing ever appended: a spare. */
  get untouched(): boolean {
    return hasNoMarks(this.words);
  }

  /** All marks whose records are really there, the longest batch first. */
  intactMarks(): Mark[] {
    const marks: Mark[] = [];
    for (const at of [LIVE_MARKS_AT, SYNCED_MARKS_AT]) {
      for (const slot of [0, 1]) {
        const mark = readMark(this.words, at + slot * MARK_BYTES);
        if (this.#isIntact(mark)) marks.push(mark);
      }
    }
    return marks.toSorted((a, b) => b.position - a.position || b.count - a.count);
  }

  #isIntact(mark: Mark): boolean {
    const { position, end, count } = mark;
    const plausible =
      position >= FIRST_BATCH_AT &&
      position === batchStart(position) &&
      end > position + BATCH_HEADER_BYTES &&
      end <= this.bytes &&
      count > 0;
    if (!plausible) return false;
    const { buffer, words, generation } = this;
    return hashRecords(buffer, words, generation, position, end, count) === mark.hash;
  }

  #readPosition(at: number): number | undefined {
    let highest: number | undefined;
    for (const index of [at >> 2, (at >> 2) + 2]) {
      const position = this.words[index]!;
      const proven = this.words[index + 1] === this.#positionCheck(position);
      if (proven && position >= FIRST_BATCH_AT && position <= this.bytes + 3) {
        highest = Math.max(highest ?? 0, position);
      }
    }
    return highest;
  }

  #writePosition(at: number, position: number): void {
    // Positions only grow, so the slot with the lower one (or none) is the one to overwrite.
    const first = at >> 2;
    const index = this.words[first]! <= this.words[first + 2]! ? first : first + 2;
    this.words[index] = position;
    this.words[index + 1] = this.#positionCheck(position);
    this.dirty = true;
  }

  #positionCheck(position: number): number {
    return foldWord(foldWord(HASH_SEED, this.generation), position);
  }
}

/** Of a segment that was begun: nothing was ever appended. `words` as in `readGeneration`. */
export function hasNoMarks(words: Int32Array): boolean {
  return words.subarray(LIVE_MARKS_AT >> 2, SYNCED_MARKS_AT >> 2).every((word) => word === 0);
}

interface Identity {
  readonly version: number;
  readonly generation: number;
  readonly bytes: number;
}

/** The copies of the identity that prove themselves; where it stands never changes with a version. */
function readIdentities(words: Int32Array): Identity[] {
  return IDENTITY_AT.flatMap((at) => {
    const [magic = 0, version = 0, generation = 0, bytes = 0, check] = words.subarray(
      at >> 2,
      (at >> 2) + 5,
    );
    const proven = magic === MAGIC && check === identityCheck({ version, generation, bytes });
    return proven ? [{ version, generation, bytes }] : [];
  });
}

/** The format version of a segment this program cannot read, else undefined. */
export function foreignVersion(words: Int32Array): number | undefined {
  return readIdentities(words).find(({ version }) => version !== FORMAT_VERSION)?.version;
}

/**
 * `words`: the first 4 KiB, or more, of a file of `fileBytes`. 0 where no valid identity stands: the
 * file was never begun, or is damaged beyond its copy.
 */
export function readGeneration(words: Int32Array, fileBytes: number): number {
  const own = readIdentities(words).filter(
    ({ version, bytes }) => version === FORMAT_VERSION && bytes === fileBytes,
  );
  return Math.max(0, ...own.map(({ generation }) => generation));
}

function writeIdentity(words: Int32Array, at: number, generation: number, bytes: number): void {
  const check = identityCheck({ version: FORMAT_VERSION, generation, bytes });
  words.set([MAGIC, FORMAT_VERSION, generation, bytes, check], at >> 2);
}

function identityCheck({ version, generation, bytes }: Identity): number {
  return foldWord(foldWord(foldWord(HASH_SEED, version), generation), bytes);
}

function writeMark(
  words: Int32Array,
  at: number,
  position: number,
  end: number,
  count: number,
  hash: number,
): void {
  const index = at >> 2;
  words[index] = position;
  words[index + 1] = end;
  words[index + 2] = count;
  words[index + 3] = hash;
}

function readMark(words: Int32Array, at: number): Mark {
  const [position, end, count, hash] = words.subarray(at >> 2, (at >> 2) + 4);
  return { position: position!, end: end!, count: count!, hash: hash! };
}
