// The files of a journal that is appended to: how many there are, which is next. Knows nothing of
// batches.
//
//   created (zeros) ─▶ spare ─▶ in use ─▶ released ─ fdatasync ─▶ begun anew ─▶ spare …
//
// Released files are synced before they begin anew: what Kafka has must be on the disk before the
// proof of it is overwritten (the other order is a crash loop, vectordotdev/vector#25570).

import { Generations } from './generations.ts';
import { JournalUnusable, makeWritable, requireRoom } from './journal-directory.ts';
import { JournalLock } from './journal-lock.ts';
import type { Segment } from './segment.ts';
import { SegmentFiles } from './segment-files.ts';

/** Creating a file on a full disk fails slowly; once a second is often enough. */
const GROW_RETRY_MS = 1000;

export interface StoreOptions {
  readonly directory: string;
  readonly segmentBytes: number;
  readonly journalBytes: number;
  readonly onError: (action: string, error: Error) => void;
  /** fdatasync of this segment failed: it is retired and `refused` from now on. */
  readonly onRefused: (segment: Segment, error: Error) => void;
}

export class SegmentStore {
  /** The process before this one ended with its machine: what it had not synced may be lost. */
  readonly machineStopped: boolean;
  readonly #options: StoreOptions;
  readonly #files: SegmentFiles;
  readonly #spares: Segment[] = [];
  readonly #released: Segment[] = [];
  #recovered: Segment[] = [];
  readonly #generations: Generations;
  /** Of the file that is being filled. */
  #growingBytes = 0;
  #preparing: Promise<void> | undefined;
  #closed = false;
  /**
   * After the disk refused a file: the next try, on performance.now()'s clock. One each, for what is
   * refused in the background (its fdatasync failed) may do when it is needed at once.
   */
  readonly #againAt = { prepare: 0, now: 0 };

  /** @throws {JournalUnusable} no such directory, held by another process, too small a disk. */
  constructor(options: StoreOptions) {
    this.#options = options;
    const { directory } = options;
    makeWritable(directory);
    const lock = new JournalLock(directory);
    this.machineStopped = lock.machineStopped;
    this.#files = new SegmentFiles(directory, lock, options.onError, options.segmentBytes);
    this.#generations = new Generations(directory, this.#files.segments, options.onError);
    try {
      this.#sort();
      this.#checkRoom();
      this.#requireDescriptors();
    } catch (error) {
      this.#files.close();
      throw error;
    }
  }

  /** Bytes on disk, spares included. */
  get bytes(): number {
    return this.#files.bytes + this.#growingBytes;
  }

  /** Segments that held batches when the directory was opened, oldest first: the caller's from now on. */
  takeRecovered(): Segment[] {
    const recovered = this.#recovered;
    this.#recovered = [];
    return recovered;
  }

  /**
   * Will `next` have an answer? Makes a spare at once, on the main thread, if there is none: rather a
   * new file, which the page cache takes in, than one that must wait for the disk first.
   */
  ensureNext(): boolean {
    if (this.#spares.length > 0) return true;
    this.#nextReleased(); // deletes those that may not live again, which makes room
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
    this.#files.delete(segment);
    return this.next();
  }

  /** Off the main thread: makes spares of all that was released, or a new one if there is none. */
  prepare(): void {
    if (this.#closed || this.#preparing) return;
    if (this.#released.length === 0 && (this.#spares.length > 0 || !this.#mayGrow('prepare')))
      return;
    this.#preparing = this.#prepareSpares()
      .catch((error: Error) => this.#options.onError('prepare a journal segment', error))
      .finally(() => {
        this.#preparing = undefined;
      });
  }

  sync(segment: Segment): Promise<void> {
    return this.#files.sync(segment);
  }

  /** At a start, where nobody waits yet. False: the disk refused. */
  syncNow(segment: Segment): boolean {
    try {
      this.#files.syncNow(segment);
    } catch (error) {
      this.#options.onRefused(segment, error as Error);
    }
    return !segment.refused;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#preparing;
    await this.#files.release();
  }

  #mayGrow(when: 'prepare' | 'now'): boolean {
    if (performance.now() < this.#againAt[when]) return false;
    return this.bytes + this.#options.segmentBytes <= this.#options.journalBytes;
  }

  /** So many more fit into JOURNAL_BYTES. */
  get #filesToCome(): number {
    const { journalBytes, segmentBytes } = this.#options;
    return Math.max(0, Math.floor((journalBytes - this.#files.bytes) / segmentBytes));
  }

  #requireDescriptors(): void {
    if (this.#files.reserve(this.#filesToCome)) return;
    throw new JournalUnusable(
      `too few file descriptors for JOURNAL_DIR=${this.#options.directory}: it may come to need ` +
        `${this.#filesToCome} more. Raise the limit of open files (ulimit -n)`,
    );
  }

  async #prepareSpares(): Promise<void> {
    while (!this.#closed) {
      const released = this.#nextReleased();
      if (released) await this.#prepareReleased(released);
      else if (this.#spares.length === 0 && this.#mayGrow('prepare')) await this.#grow();
      else return;
    }
  }

  async #prepareReleased(segment: Segment): Promise<void> {
    await this.sync(segment).catch((error: Error) => this.#options.onRefused(segment, error));
    // While the disk worked, a burst may have taken it.
    if (this.#released[0] !== segment || segment.refused) return;
    this.#spares.push(this.#beginReleased(segment));
  }

  async #grow(): Promise<void> {
    this.#growingBytes = this.#options.segmentBytes;
    try {
      this.#spares.push(this.#beginNew(await this.#files.create(this.#options.segmentBytes)));
    } catch (error) {
      this.#againAt.prepare = performance.now() + GROW_RETRY_MS;
      throw error;
    } finally {
      this.#growingBytes = 0;
    }
  }

  /** The burst outran `prepare`: the same steps on the main thread. Slow, but loses nothing. */
  #reuseNow(): Segment | undefined {
    for (let segment = this.#nextReleased(); segment; segment = this.#nextReleased()) {
      try {
        this.#files.syncNow(segment);
        return this.#beginReleased(segment);
      } catch (error) {
        this.#options.onRefused(segment, error as Error);
      }
    }
    return undefined;
  }

  #createNow(): Segment | undefined {
    if (!this.#mayGrow('now')) return undefined;
    try {
      return this.#beginNew(this.#files.createNow(this.#options.segmentBytes));
    } catch (error) {
      this.#againAt.now = performance.now() + GROW_RETRY_MS;
      this.#options.onError('create a journal segment', error as Error);
      return undefined;
    }
  }

  /** The next released segment that may live again; those that may not are deleted on the way. */
  #nextReleased(): Segment | undefined {
    for (let segment = this.#released[0]; segment; segment = this.#released[0]) {
      if (this.#isReusable(segment)) return segment;
      this.#released.shift();
      this.#files.delete(segment);
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

  #beginNew(segment: Segment): Segment {
    this.#files.reserve(this.#filesToCome);
    return this.#begin(segment);
  }

  #begin(segment: Segment): Segment {
    segment.begin(this.#generations.next());
    return segment;
  }

  /** Those that hold batches, and those that begin anew. */
  #sort(): void {
    for (const segment of this.#files.segments) {
      if (segment.generation > 0 && !segment.untouched) this.#recovered.push(segment);
      // A power cut may have kept batches of the unused ones and lost the marks.
      else if (this.#isReusable(segment)) this.#spares.push(this.#begin(segment));
      else this.#files.delete(segment);
    }
    this.#recovered.sort((a, b) => a.generation - b.generation);
    for (const segment of this.#recovered.toReversed()) {
      if (segment.retired) this.#files.fillHoles(segment);
    }
  }

  /** A newcomer is told at once; who has served already goes on, with JOURNAL_FULL for what has no room. */
  #checkRoom(): void {
    const { directory, journalBytes, onError } = this.#options;
    try {
      requireRoom(directory, journalBytes - this.bytes, journalBytes);
    } catch (error) {
      if (this.#recovered.length === 0) throw error;
      onError('find room on the disk', error as Error);
    }
  }
}
