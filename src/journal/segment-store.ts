// The files of one journal directory: who may use them, how many there are, which is next. Knows
// nothing of batches.
//
//   created (zeros) ─▶ spare ─▶ in use ─▶ released ─ fdatasync ─▶ begun anew ─▶ spare …
//
// Released files are synced before they begin anew: what Kafka has must be on the disk before the
// proof of it is overwritten (the other order is a crash loop, vectordotdev/vector#25570).

import { Database } from 'bun:sqlite';
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statfsSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { foreignVersion, Segment } from './segment.ts';

const SEGMENT_NAME = /^(\d{8})\.segment$/;
/** Creating a file on a full disk fails slowly; once a second is often enough. */
const GROW_RETRY_MS = 1000;
/**
 * A power cut may take an identity back and keep batches of the generation it had, and those must not
 * come to life when the number is given again: each start leaves out more than can be begun between
 * two fdatasyncs. 2^31 generations are enough for two million starts.
 */
const GENERATION_LEAP = 1024;
const ZEROS = new Uint8Array(1 << 20);
const datasync = promisify(fdatasync);

/** The journal cannot be used as asked: the message says why and what to do. */
export class JournalUnusable extends Error {
  override readonly name = 'JournalUnusable';
}

export interface StoreOptions {
  readonly directory: string;
  readonly segmentBytes: number;
  readonly journalBytes: number;
  readonly onError: (action: string, error: Error) => void;
}

export class SegmentStore {
  /** Segments that held batches when the directory was opened, oldest first. */
  readonly recovered: Segment[] = [];
  readonly #options: StoreOptions;
  readonly #lock: Database;
  readonly #descriptors = new Map<Segment, number>();
  readonly #spares: Segment[] = [];
  readonly #released: Segment[] = [];
  readonly #retired = new Set<Segment>();
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
    makeWritable(options.directory);
    this.#lock = lockDirectory(options.directory);
    try {
      this.#openFiles();
      this.#checkDisk();
    } catch (error) {
      this.#lock.close();
      throw error;
    }
  }

  /** Bytes on disk, spares included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Will `next` have an answer? Makes a spare at once, on the main thread, if there is none. */
  ensureNext(): boolean {
    if (this.#spares.length > 0) return true;
    const segment = this.#reuseNow() ?? this.#createNow();
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

  /** The disk refused to keep this segment: it is never written again. */
  retire(segment: Segment): void {
    this.#retired.add(segment);
  }

  /** Makes a spare off the main thread, unless one is there. */
  prepare(): void {
    if (this.#closed || this.#preparing || this.#spares.length > 0) return;
    if (this.#released.length === 0 && !this.#mayGrow()) return;
    this.#preparing = this.#prepareSpare()
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

  async #prepareSpare(): Promise<void> {
    const released = this.#nextReleased();
    if (released) {
      await this.sync(released);
      // While the disk worked, a burst may have taken it.
      if (this.#released[0] === released) this.#spares.push(this.#beginReleased(released));
      return;
    }
    if (!this.#mayGrow()) return;
    const path = this.#nextPath();
    this.#bytes += this.#options.segmentBytes;
    try {
      await fillWithZeros(`${path}.new`, this.#options.segmentBytes);
      await rename(`${path}.new`, path);
      this.#spares.push(this.#map(path));
    } catch (error) {
      this.#bytes -= this.#options.segmentBytes;
      this.#growAgainAt = performance.now() + GROW_RETRY_MS;
      removeIfThere(`${path}.new`);
      throw error;
    }
  }

  /** The burst outran `prepare`: the same steps on the main thread. Slow, but loses nothing. */
  #reuseNow(): Segment | undefined {
    const segment = this.#nextReleased();
    if (!segment) return undefined;
    const descriptor = this.#descriptors.get(segment);
    if (descriptor !== undefined) fdatasyncSync(descriptor);
    return this.#beginReleased(segment);
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
      removeIfThere(`${path}.new`);
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
    return segment.bytes === this.#options.segmentBytes && !this.#retired.has(segment);
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
    this.#bytes -= segment.bytes;
    removeIfThere(segment.path);
  }

  #openFiles(): void {
    const { directory } = this.#options;
    const unused: Segment[] = [];
    for (const name of readdirSync(directory).toSorted()) {
      if (name.endsWith('.segment.new')) removeIfThere(join(directory, name));
      const number = SEGMENT_NAME.exec(name)?.[1];
      if (number === undefined) continue;
      this.#fileNumber = Math.max(this.#fileNumber, Number(number));
      const segment = this.#openFile(join(directory, name));
      if (!segment) continue;
      this.#descriptors.set(segment, openSync(segment.path, 'r+'));
      this.#bytes += segment.bytes;
      this.#generation = Math.max(this.#generation, segment.generation);
      if (segment.generation === 0 || segment.untouched) unused.push(segment);
      else this.recovered.push(segment);
    }
    this.#generation += GENERATION_LEAP;
    // They begin anew: a power cut may have kept batches of theirs and lost the marks.
    for (const segment of unused) {
      if (this.#isReusable(segment)) this.#spares.push(this.#begin(segment));
      else this.#delete(segment);
    }
    this.recovered.sort((a, b) => a.generation - b.generation);
  }

  /** A file that is none of ours any more is put aside for a human; the journal goes on without. */
  #openFile(path: string): Segment | undefined {
    const segment = openSegment(path);
    if (segment && !segment.damaged) return segment;
    renameSync(path, `${path}.damaged`);
    this.#options.onError(`read ${path}, now ${path}.damaged`, new Error('no valid identity'));
    return undefined;
  }

  #checkDisk(): void {
    const { directory, journalBytes } = this.#options;
    const { bavail, bsize } = statfsSync(directory);
    const missing = journalBytes - this.#bytes - bavail * bsize;
    if (missing <= 0) return;
    throw new JournalUnusable(
      `the disk of JOURNAL_DIR=${directory} has ${mebibytes(bavail * bsize)} MiB free, ` +
        `${mebibytes(missing)} MiB too few for JOURNAL_BYTES=${journalBytes}. ` +
        'Free some space, or set a smaller JOURNAL_BYTES',
    );
  }
}

/** Maps a segment file; undefined for one that is too short to be one. */
function openSegment(path: string): Segment | undefined {
  const bytes = Bun.file(path).size;
  if (bytes < 8192 || bytes % 4 !== 0) return undefined;
  const segment = new Segment(path, Bun.mmap(path, { shared: true }));
  const version = foreignVersion(segment.words);
  if (version === undefined) return segment;
  throw new JournalUnusable(
    `${path} has journal format version ${version}, which this hoplog does not know. ` +
      'Start the version that wrote it, let it deliver, then upgrade; or name another JOURNAL_DIR',
  );
}

function makeWritable(directory: string): void {
  const probe = join(directory, '.writable');
  try {
    mkdirSync(directory, { recursive: true });
    closeSync(openSync(probe, 'w'));
    unlinkSync(probe);
  } catch (error) {
    throw new JournalUnusable(
      `cannot write to JOURNAL_DIR=${directory} (${(error as NodeJS.ErrnoException).code}). ` +
        'Create it, give this user write access, or name another directory',
    );
  }
}

/**
 * SQLite's exclusive lock is a POSIX lock: the kernel drops it with the process, however that
 * ended, and it holds between containers that share a volume. Bun offers no flock of its own.
 */
function lockDirectory(directory: string): Database {
  const lock = new Database(join(directory, 'lock'), { create: true });
  try {
    lock.run('PRAGMA locking_mode = EXCLUSIVE');
    lock.run('BEGIN EXCLUSIVE');
  } catch {
    lock.close();
    const owner = readOwner(directory);
    throw new JournalUnusable(
      `the journal ${directory} is in use by another hoplog${owner}. ` +
        'Stop that one first, or give this one its own JOURNAL_DIR',
    );
  }
  noteOwner(directory);
  return lock;
}

/** A hint for the message above, no more: the lock itself is the kernel's. */
function noteOwner(directory: string): void {
  try {
    writeFileSync(join(directory, 'owner'), `${process.pid}\n`);
  } catch {
    // Then the message names no process.
  }
}

function readOwner(directory: string): string {
  try {
    return ` (process ${readFileSync(join(directory, 'owner'), 'utf8').trim()})`;
  } catch {
    return '';
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

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
