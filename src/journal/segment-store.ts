// The files of one journal directory: who may use them, how many there are, which is next. Knows
// nothing of batches.
//
//   created (zeros) ─▶ spare ─▶ in use ─▶ released ─ fdatasync ─▶ begun anew ─▶ spare …
//
// Released files are synced before they begin anew: what Kafka has must be on the disk before the
// proof of it is overwritten (the other order is a crash loop, vectordotdev/vector#25570).

import type { Database } from 'bun:sqlite';
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  openSync,
  readdirSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { claimDirectory, JournalUnusable, requireRoom, unusable } from './journal-directory.ts';
import { foreignVersion, Segment } from './segment.ts';

const SEGMENT_NAME = /^(\d{8})\.segment$/;
/** Creating a file on a full disk fails slowly; once a second is often enough. */
const GROW_RETRY_MS = 1000;
/**
 * A power cut may take an identity back and keep batches of the generation it had, and those must not
 * come to life when the number is given again: each start leaves out more than can be begun between
 * two fdatasyncs, and that is every file once at the start itself. 2^31 generations are enough for two
 * million starts of a journal of 64 segments.
 */
const GENERATION_LEAP = 1024;
/** `blocks` of stat(2) are these, whatever the file system uses. */
const STAT_BLOCK_BYTES = 512;
/** No file system makes a smaller hole than the page that is mapped. */
const HOLE_BYTES = 4096;
const ZEROS = new Uint8Array(1 << 20);
const datasync = promisify(fdatasync);

export interface StoreOptions {
  readonly directory: string;
  readonly segmentBytes: number;
  readonly journalBytes: number;
  readonly onError: (action: string, error: Error) => void;
  /** fdatasync of this segment failed: it is not to be written any more, nor synced again. */
  readonly onRefused: (segment: Segment, error: Error) => void;
}

export class SegmentStore {
  /** Segments that held batches when the directory was opened, oldest first. */
  readonly recovered: Segment[] = [];
  readonly #options: StoreOptions;
  readonly #lock: Database;
  readonly #descriptors = new Map<Segment, number>();
  readonly #spares: Segment[] = [];
  readonly #released: Segment[] = [];
  #fileNumber = 0;
  #generation = 0;
  #bytes = 0;
  #preparing: Promise<void> | undefined;
  #closed = false;
  /** After the disk refused a file: the next try, on performance.now()'s clock. */
  #growAgainAt = 0;

  /** @throws {JournalUnusable} no such directory, held by another process, too small a disk. */
  constructor(options: StoreOptions) {
    this.#options = options;
    const { directory, journalBytes } = options;
    this.#lock = claimDirectory(directory);
    try {
      this.#openFiles();
      requireRoom(directory, journalBytes - this.#bytes, journalBytes);
    } catch (error) {
      this.#lock.close();
      throw error;
    }
  }

  /** Bytes on disk, spares included. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Will `next` have an answer? Makes a spare at once, on the main thread, if there is none: rather a
   * new file, which the page cache takes in, than one that must wait for the disk first.
   */
  ensureNext(): boolean {
    if (this.#spares.length > 0) return true;
    const segment = this.#createNow() ?? this.#reuseNow();
    if (segment) this.#spares.push(segment);
    return segment !== undefined;
  }

  /** An empty segment to write to; undefined when the journal or the disk is full. */
  next(): Segment | undefined {
    if (!this.ensureNext()) return undefined;
    const segment = this.#spares.shift();
    this.prepare();
    return segment;
  }

  /** Everything in it is Kafka's (or, in local mode, too old to keep): it may begin anew. */
  release(segment: Segment): void {
    this.#released.push(segment);
    this.prepare();
  }

  /** Local mode: a segment whose batches nobody waits for begins anew at once. */
  reuse(segment: Segment): Segment | undefined {
    if (this.#isReusable(segment)) return this.#begin(segment);
    this.#delete(segment);
    return this.next();
  }

  /** Off the main thread: makes spares of all that was released, or a new one if there is none. */
  prepare(): void {
    if (this.#closed || this.#preparing) return;
    if (this.#released.length === 0 && (this.#spares.length > 0 || !this.#mayGrow())) return;
    this.#preparing = this.#prepareSpares()
      .catch((error: Error) => this.#options.onError('prepare a journal segment', error))
      .finally(() => {
        this.#preparing = undefined;
      });
  }

  async sync(segment: Segment): Promise<void> {
    const descriptor = this.#descriptors.get(segment);
    if (descriptor !== undefined) await datasync(descriptor);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#preparing;
    for (const descriptor of this.#descriptors.values()) closeSync(descriptor);
    this.#descriptors.clear();
    this.#lock.close();
  }

  #mayGrow(): boolean {
    if (performance.now() < this.#growAgainAt) return false;
    return this.#bytes + this.#options.segmentBytes <= this.#options.journalBytes;
  }

  async #prepareSpares(): Promise<void> {
    for (let next = this.#nextReleased(); next && !this.#closed; next = this.#nextReleased()) {
      const segment = next;
      await this.sync(segment).catch((error: Error) => this.#options.onRefused(segment, error));
      // While the disk worked, a burst may have taken it.
      if (this.#released[0] === segment && !segment.retired) {
        this.#spares.push(this.#beginReleased(segment));
      }
    }
    if (this.#spares.length === 0 && this.#mayGrow()) await this.#grow();
  }

  async #grow(): Promise<void> {
    const path = this.#nextPath();
    this.#bytes += this.#options.segmentBytes;
    try {
      await fillWithZeros(`${path}.new`, this.#options.segmentBytes);
      await rename(`${path}.new`, path);
      this.#spares.push(this.#map(path));
    } catch (error) {
      this.#bytes -= this.#options.segmentBytes;
      this.#growAgainAt = performance.now() + GROW_RETRY_MS;
      remove(`${path}.new`);
      throw error;
    }
  }

  /** The burst outran `prepare`: the same steps on the main thread. Slow, but loses nothing. */
  #reuseNow(): Segment | undefined {
    for (let segment = this.#nextReleased(); segment; segment = this.#nextReleased()) {
      try {
        const descriptor = this.#descriptors.get(segment);
        if (descriptor !== undefined) fdatasyncSync(descriptor);
        return this.#beginReleased(segment);
      } catch (error) {
        this.#options.onRefused(segment, error as Error);
      }
    }
    return undefined;
  }

  #createNow(): Segment | undefined {
    if (!this.#mayGrow()) return undefined;
    const path = this.#nextPath();
    try {
      const descriptor = openSync(`${path}.new`, 'w');
      for (let at = 0; at < this.#options.segmentBytes; at += ZEROS.length) {
        writeSync(descriptor, ZEROS, 0, Math.min(ZEROS.length, this.#options.segmentBytes - at));
      }
      closeSync(descriptor);
      renameSync(`${path}.new`, path);
    } catch (error) {
      this.#growAgainAt = performance.now() + GROW_RETRY_MS;
      remove(`${path}.new`);
      this.#options.onError('create a journal segment', error as Error);
      return undefined;
    }
    this.#bytes += this.#options.segmentBytes;
    return this.#map(path);
  }

  /** The next released segment that may live again; those that may not are deleted on the way. */
  #nextReleased(): Segment | undefined {
    for (let segment = this.#released[0]; segment; segment = this.#released[0]) {
      if (this.#isReusable(segment)) return segment;
      this.#released.shift();
      this.#delete(segment);
    }
    return undefined;
  }

  #isReusable(segment: Segment): boolean {
    return segment.bytes === this.#options.segmentBytes && !segment.retired;
  }

  #beginReleased(segment: Segment): Segment {
    this.#released.shift();
    return this.#begin(segment);
  }

  #begin(segment: Segment): Segment {
    segment.begin(++this.#generation);
    return segment;
  }

  #nextPath(): string {
    this.#fileNumber++;
    const name = `${String(this.#fileNumber).padStart(8, '0')}.segment`;
    return join(this.#options.directory, name);
  }

  #map(path: string): Segment {
    const segment = new Segment(path, Bun.mmap(path, { shared: true }));
    this.#descriptors.set(segment, openSync(path, 'r+'));
    if (segment.generation === 0) this.#begin(segment);
    return segment;
  }

  #delete(segment: Segment): void {
    const descriptor = this.#descriptors.get(segment);
    if (descriptor !== undefined) closeSync(descriptor);
    this.#descriptors.delete(segment);
    const failure = remove(segment.path);
    if (failure) this.#options.onError(`remove ${segment.path}`, failure);
    else this.#bytes -= segment.bytes;
  }

  #openFiles(): void {
    const { directory } = this.#options;
    const unused: Segment[] = [];
    for (const name of readdirSync(directory).toSorted()) {
      if (name.endsWith('.segment.new')) remove(join(directory, name));
      const number = SEGMENT_NAME.exec(name)?.[1];
      if (number === undefined) continue;
      this.#fileNumber = Math.max(this.#fileNumber, Number(number));
      const segment = this.#openFile(join(directory, name));
      if (!segment) continue;
      const { path } = segment;
      this.#descriptors.set(
        segment,
        opened(path, () => openSync(path, 'r+')),
      );
      this.#bytes += segment.bytes;
      this.#generation = Math.max(this.#generation, segment.generation);
      if (segment.generation === 0 || segment.untouched) unused.push(segment);
      else this.recovered.push(segment);
    }
    this.#generation += GENERATION_LEAP + unused.length + this.recovered.length;
    // They begin anew: a power cut may have kept batches of theirs and lost the marks.
    for (const segment of unused) {
      if (this.#isReusable(segment)) this.#spares.push(this.#begin(segment));
      else this.#delete(segment);
    }
    this.recovered.sort((a, b) => a.generation - b.generation);
    this.#fillTail();
  }

  /** The newest segment is written on, so if it has holes they are filled while that can fail. */
  #fillTail(): void {
    const tail = this.recovered.at(-1);
    if (!tail?.retired || tail.closed !== undefined) return;
    try {
      fillHoles(tail, this.#descriptors.get(tail)!);
      tail.retired = false;
    } catch (error) {
      this.#options.onError(`fill the holes of ${tail.path}`, error as Error);
    }
  }

  /** A file that is none of ours any more is put aside for a human; the journal goes on without. */
  #openFile(path: string): Segment | undefined {
    const segment = openSegment(path);
    if (segment && !segment.damaged) return segment;
    renameSync(path, `${path}.damaged`);
    this.#options.onError(`read ${path}, now ${path}.damaged`, new Error('no valid identity'));
    return undefined;
  }
}

/** Maps a segment file; undefined for one that is too short to be one. */
function openSegment(path: string): Segment | undefined {
  const { size, blocks } = statSync(path);
  if (size < 8192 || size % 4 !== 0) return undefined;
  const segment = new Segment(
    path,
    opened(path, () => Bun.mmap(path, { shared: true })),
  );
  // Copied without its zeros: reading a hole is harmless, writing to it on a full disk is the end.
  segment.retired = blocks * STAT_BLOCK_BYTES < size;
  const version = foreignVersion(segment.words);
  if (version === undefined) return segment;
  throw new JournalUnusable(
    `${path} has journal format version ${version}, which this hoplog does not know. ` +
      'Start the version that wrote it, let it deliver, then upgrade; or name another JOURNAL_DIR',
  );
}

/** What `open` opens. @throws {JournalUnusable} files of another user, too many files */
function opened<Opened>(path: string, open: () => Opened): Opened {
  try {
    return open();
  } catch (error) {
    throw unusable(`cannot open ${path}`, error);
  }
}

/** Writes zeros where zeros are read. @throws what a full disk says */
function fillHoles(segment: Segment, descriptor: number): void {
  const blockWords = HOLE_BYTES / 4;
  for (let at = 0; at < segment.bytes; at += HOLE_BYTES) {
    const block = segment.words.subarray(at / 4, at / 4 + blockWords);
    if (block.every((word) => word === 0)) writeSync(descriptor, ZEROS, 0, block.byteLength, at);
  }
}

async function fillWithZeros(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'w');
  try {
    for (let at = 0; at < bytes; at += ZEROS.length) {
      await file.write(ZEROS, 0, Math.min(ZEROS.length, bytes - at));
    }
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** Removes a file that may not be there. Never throws: some callers are on the way of a request. */
function remove(path: string): Error | undefined {
  try {
    unlinkSync(path);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : (error as Error);
  }
}
