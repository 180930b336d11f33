// What a power cut leaves of a journal. A disk block that was written to since the last fdatasync of
// its file holds any of the contents it had since then: the kernel writes back what it likes.

import { spyOn } from 'bun:test';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { SegmentFiles } from '../../src/journal/segment-files.ts';
import { segmentFiles } from './journals.ts';

interface FileHistory {
  /** Contents of each block since the last sync, oldest first. */
  readonly blocks: Buffer[][];
  /** Was it there when the directory was last synced? */
  isNew: boolean;
  generation: number;
  /** As noted last. */
  latest: Buffer;
}

/** An fdatasync that has begun. */
export interface SyncBegun {
  /** Its file, and what each block of it holds as it begins. */
  readonly file: FileHistory;
  readonly contents: readonly Buffer[];
}

const GENERATION_AT = 8;

export class DiskHistory {
  #directory: string;
  readonly #blockBytes: number;
  readonly #files = new Map<string, FileHistory>();

  /** By the names of files. Takes what is there now as being on the disk. */
  constructor(directory: string, blockBytes: number) {
    this.#directory = directory;
    this.#blockBytes = blockBytes;
    for (const path of this.#paths()) this.#add(path, readFileSync(path), false);
  }

  /** Notes what is there now: the disk may or may not come to hold it. */
  note(): void {
    for (const path of this.#paths()) {
      const bytes = readFileSync(path);
      const file =
        this.#files.get(basename(path)) ?? this.#add(path, Buffer.alloc(bytes.length), true);
      if (file.latest.equals(bytes)) continue;
      file.latest = bytes;
      const generation = bytes.readInt32LE(GENERATION_AT);
      // Synced before it began anew: of its last life only the end can be on the disk.
      if (generation !== file.generation && !file.isNew) {
        for (const versions of file.blocks) versions.splice(0, versions.length - 1);
      }
      file.generation = generation;
      for (const [index, versions] of file.blocks.entries()) {
        const block = this.#block(bytes, index);
        if (!versions.at(-1)!.equals(block)) versions.push(Buffer.from(block));
      }
    }
  }

  /** The files go on, with all that the disk may hold of them, as copies in another directory. */
  moveTo(directory: string): void {
    this.#directory = directory;
  }

  /** An fdatasync of a file begins. */
  beginSync(path: string): SyncBegun {
    this.note();
    const file = this.#files.get(basename(path));
    if (!file) throw new Error(`${path} is no segment`);
    return { file, contents: file.blocks.map((versions) => versions.at(-1)!) };
  }

  /** It has ended: the disk holds what the file held when it began, or something later. */
  endSync({ file, contents }: SyncBegun, what?: 'not its name'): void {
    if (what === undefined) file.isNew = false;
    for (const [index, versions] of file.blocks.entries()) {
      const synced = versions.lastIndexOf(contents[index]!);
      versions.splice(0, Math.max(0, synced));
    }
  }

  /**
   * Writes what the power cut left into `target`.
   * @param choose which of so many contents of a block the disk holds; 0 = the oldest
   * @param zeros may a block that was being written hold zeros?
   */
  cut(target: string, choose: (versions: number) => number, zeros: boolean): void {
    mkdirSync(target, { recursive: true });
    // Synced whenever it is written, and before what it says is used.
    const reserved = join(this.#directory, 'generations');
    if (existsSync(reserved)) copyFileSync(reserved, join(target, 'generations'));
    const nothing = Buffer.alloc(this.#blockBytes);
    for (const [name, { blocks, isNew }] of this.#files) {
      if (isNew && choose(2) === 0) continue; // it never reached the directory
      const left = blocks.map((versions) => {
        const possible = zeros && versions.length > 1 ? [nothing, ...versions] : versions;
        return possible[choose(possible.length)]!;
      });
      writeFileSync(join(target, name), Buffer.concat(left));
    }
  }

  /** Without those that are still being made: a start removes them. */
  #paths(): string[] {
    return segmentFiles(this.#directory).filter((path) => path.endsWith('.segment'));
  }

  #add(path: string, bytes: Buffer, isNew: boolean): FileHistory {
    const count = Math.ceil(bytes.length / this.#blockBytes);
    const blocks = Array.from({ length: count }, (_, index) => [
      Buffer.from(this.#block(bytes, index)),
    ]);
    const generation = bytes.readInt32LE(GENERATION_AT);
    const file = { blocks, isNew, generation, latest: bytes };
    this.#files.set(basename(path), file);
    return file;
  }

  #block(bytes: Buffer, index: number): Buffer {
    return bytes.subarray(index * this.#blockBytes, (index + 1) * this.#blockBytes);
  }
}

/** Takes the place of fdatasync for all journals while it is in scope. */
export class SimulatedDisk implements Disposable {
  readonly #spies;

  /** @param takesTurns of the event loop, for each fdatasync */
  constructor(history: DiskHistory, takesTurns: () => number) {
    this.#spies = [
      spyOn(SegmentFiles.prototype, 'sync').mockImplementation(async ({ path }) => {
        const begun = history.beginSync(path);
        await turns(takesTurns());
        history.endSync(begun);
      }),
      spyOn(SegmentFiles.prototype, 'syncNow').mockImplementation(({ path }) => {
        history.endSync(history.beginSync(path));
      }),
    ];
  }

  [Symbol.dispose](): void {
    for (const spy of this.#spies) spy.mockRestore();
  }
}

/** Lets whatever is due run, so many times over. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}
