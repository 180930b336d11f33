// The segment files of one directory, locked, opened and mapped: what one needs of a journal whether or
// not anything will be appended. Knows nothing of batches.

import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fsync,
  open,
  openSync,
  readdirSync,
  renameSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DescriptorReserve, isExhausted } from './descriptor-reserve.ts';
import { JournalUnusable, unusable } from './journal-directory.ts';
import type { JournalLock } from './journal-lock.ts';
import { foreignVersion, Segment } from './segment.ts';
import { readHead } from './segment-head.ts';
import { fillHoles, writeZeros, writeZerosInBackground } from './segment-zeros.ts';

const SEGMENT_NAME = /^(\d{8})\.segment$/;
/** `blocks` of stat(2) are these, whatever the file system uses. */
const STAT_BLOCK_BYTES = 512;
const sync = promisify(fsync);
const datasync = promisify(fdatasync);
const openInBackground = promisify(open);
/** Lays aside for so many files at most; a flood of connections that outlasts them is an attack. */
const RESERVE_MAX = 64;

export class SegmentFiles {
  readonly #directory: string;
  readonly #onError: (action: string, error: Error) => void;
  readonly #lock: JournalLock;
  readonly #descriptors = new Map<Segment, number>();
  readonly #reserve = new DescriptorReserve();
  #lastNumber = 0;
  #bytes = 0;
  /** Open from the start: later there may be no descriptor to be had. Undefined once closed. */
  #directoryDescriptor: number | undefined;
  /** A file may have got its name since the directory was last synced, also from a killed process. */
  #unsyncedNames = true;
  /** The last sync of names that was begun: all that were given before. */
  #namesSynced: Promise<void> = Promise.resolve();

  /**
   * `lock`: of the directory, closed with the files. `spareBytes`: spares of another size are deleted,
   * and not mapped before: that would keep their room on the disk until they are collected.
   * @throws {JournalUnusable} of a newer format, or files of another user
   */
  constructor(
    directory: string,
    lock: JournalLock,
    onError: (action: string, error: Error) => void,
    spareBytes?: number,
  ) {
    this.#directory = directory;
    this.#onError = onError;
    this.#lock = lock;
    try {
      this.#directoryDescriptor = opened(directory, () => openSync(directory, 'r'));
      for (const name of readdirSync(directory).toSorted()) this.#openFile(name, spareBytes);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** All there are; right after opening what was in the directory, by file name. */
  get segments(): Segment[] {
    return [...this.#descriptors.keys()];
  }

  /** On disk. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Lays descriptors aside for so many files that may be created yet, and one for the moment in which
   * a file is mapped; false where the process may not have them.
   */
  reserve(files: number): boolean {
    return this.#reserve.hold(files > 0 ? Math.min(files, RESERVE_MAX) + 1 : 0);
  }

  /** A new file of zeros, on the disk; off the main thread. @throws what the disk says */
  async create(bytes: number): Promise<Segment> {
    const path = this.#newPath();
    const created = `${path}.new`;
    let descriptor: number | undefined;
    try {
      descriptor = await openInBackground(created, 'w+').catch((error: Error) => {
        if (!isExhausted(error)) throw error;
        return this.#reserve.open(() => openSync(created, 'w+'));
      });
      await writeZerosInBackground(descriptor, 0, bytes);
      await datasync(descriptor);
      await rename(created, path);
      this.#unsyncedNames = true;
      return this.#keep(this.#map(path), descriptor);
    } catch (error) {
      discard(descriptor, [created, path]);
      throw error;
    }
  }

  /** The same on the main thread and in memory only: in a hurry. */
  createNow(bytes: number): Segment {
    const path = this.#newPath();
    const created = `${path}.new`;
    let descriptor: number | undefined;
    try {
      descriptor = this.#reserve.open(() => openSync(created, 'w+'));
      writeZeros(descriptor, 0, bytes);
      renameSync(created, path);
      this.#unsyncedNames = true;
      return this.#keep(this.#map(path), descriptor);
    } catch (error) {
      discard(descriptor, [created, path]);
      throw error;
    }
  }

  /** Afterwards the disk has all of the segment, and finds it. */
  async sync(segment: Segment): Promise<void> {
    const descriptor = this.#descriptors.get(segment);
    if (descriptor === undefined) return;
    await this.#syncNames();
    await datasync(descriptor);
  }

  /** On the main thread. */
  syncNow(segment: Segment): void {
    const descriptor = this.#descriptors.get(segment);
    if (descriptor !== undefined) fdatasyncSync(descriptor);
  }

  /** At a start, of a segment that is `retired` for them. Where that fails it stays so. */
  fillHoles(segment: Segment): void {
    try {
      fillHoles(segment, this.#descriptors.get(segment)!);
    } catch (error) {
      this.#onError(`fill the holes of ${segment.path}`, error as Error);
    }
  }

  /** The disk has its room back once it is unmapped, which is for the garbage collector to do. */
  delete(segment: Segment): void {
    const descriptor = this.#descriptors.get(segment);
    if (descriptor !== undefined) closeSync(descriptor);
    this.#descriptors.delete(segment);
    if (this.#remove(segment.path)) this.#bytes -= segment.bytes;
  }

  /** Closes; all that was written is on the disk, but for what the disk refused. */
  async release(): Promise<void> {
    const isRefused = [...this.#descriptors.keys()].some(({ refused }) => refused);
    if (!isRefused) await this.#lock.forgetOwner();
    this.close();
  }

  close(): void {
    for (const descriptor of this.#descriptors.values()) closeSync(descriptor);
    this.#descriptors.clear();
    if (this.#directoryDescriptor !== undefined) closeSync(this.#directoryDescriptor);
    this.#directoryDescriptor = undefined;
    this.#reserve[Symbol.dispose]();
    this.#lock.close();
  }

  #syncNames(): Promise<void> {
    if (this.#unsyncedNames && this.#directoryDescriptor !== undefined) {
      // First: a name that is given meanwhile waits for the next time.
      this.#unsyncedNames = false;
      this.#namesSynced = this.#syncNamesIn(this.#directoryDescriptor);
    }
    return this.#namesSynced;
  }

  async #syncNamesIn(directory: number): Promise<void> {
    try {
      await this.#lock.sync();
      await sync(directory);
    } catch (error) {
      this.#unsyncedNames = true;
      throw error;
    }
  }

  /** False: it is still there, and that was reported. */
  #remove(path: string): boolean {
    const failure = remove(path);
    if (failure) this.#onError(`remove ${path}`, failure);
    return failure === undefined;
  }

  #newPath(): string {
    this.#lastNumber++;
    const name = `${String(this.#lastNumber).padStart(8, '0')}.segment`;
    return join(this.#directory, name);
  }

  #map(path: string): Segment {
    return new Segment(
      path,
      this.#reserve.open(() => Bun.mmap(path, { shared: true })),
    );
  }

  #keep(segment: Segment, descriptor: number): Segment {
    this.#descriptors.set(segment, descriptor);
    this.#bytes += segment.bytes;
    return segment;
  }

  /** A file that is none of ours any more is put aside for a human; the journal goes on without. */
  #openFile(name: string, spareBytes: number | undefined): void {
    const path = join(this.#directory, name);
    if (name.endsWith('.segment.new')) remove(path);
    const number = SEGMENT_NAME.exec(name)?.[1];
    if (number === undefined) return;
    this.#lastNumber = Math.max(this.#lastNumber, Number(number));
    if (spareBytes !== undefined && isSpareOfOtherSize(path, spareBytes)) {
      this.#remove(path);
      return;
    }
    const segment = openSegment(path);
    if (segment && !segment.damaged) {
      const descriptor = opened(path, () => openSync(path, 'r+'));
      this.#keep(segment, descriptor);
      return;
    }
    renameSync(path, `${path}.damaged`);
    this.#onError(`read ${path}, now ${path}.damaged`, new Error('no valid identity'));
  }
}

function isSpareOfOtherSize(path: string, spareBytes: number): boolean {
  const { bytes, generation, untouched } = opened(path, () => readHead(path));
  return bytes !== spareBytes && generation > 0 && untouched;
}

/** Maps a segment file; undefined for one that is too short to be one. */
function openSegment(path: string): Segment | undefined {
  const { size, blocks } = statSync(path);
  if (size < 8192 || size % 4 !== 0) return undefined;
  const segment = new Segment(
    path,
    opened(path, () => Bun.mmap(path, { shared: true })),
  );
  // Copied without its zeros: segment-zeros.ts.
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

/** A file that could not be made. */
function discard(descriptor: number | undefined, paths: readonly string[]): void {
  if (descriptor !== undefined) closeSync(descriptor);
  for (const path of paths) remove(path);
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
