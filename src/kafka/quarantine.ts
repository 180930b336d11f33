// Batches that no broker takes, kept for a human: a file each, written whole or not at all, in Kafka's
// own format and named as Kafka names its log segments, so that Kafka's tools read them:
//   kafka-dump-log.sh --print-data-log --files JOURNAL_DIR/quarantine/00000000000000000000.log
// A file that is done is never changed or deleted by hoplog, and of all only the last one is read, for its
// number of records; what a human takes away makes room.

import { link, mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readBatchHeader } from '../record-batch.ts';

const FILE_NAME = /^(\d{20})\.log$/;

/** There is no room for a batch; the message says what to do. */
export class QuarantineFull extends Error {
  override readonly name = 'QuarantineFull';
}

export class Quarantine {
  readonly #directory: string;
  readonly #bytesMax: number;
  #bytes = 0;
  /** Offset of the next record, as if the files were one partition. */
  #nextOffset = 0;
  /** Puts are done one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #known = false;

  constructor(directory: string, bytesMax: number) {
    this.#directory = directory;
    this.#bytesMax = bytesMax;
  }

  /** @returns the file that holds it now. @throws {QuarantineFull}, or what the disk says */
  put(batch: Buffer): Promise<string> {
    const put = this.#last.then(() => this.#put(batch));
    this.#last = put.catch(() => undefined);
    return put;
  }

  async #put(batch: Buffer): Promise<string> {
    // Looked at again when it seems full: somebody may have made room.
    if (!this.#known || this.#bytes + batch.length > this.#bytesMax) await this.#look();
    if (this.#bytes + batch.length > this.#bytesMax) {
      throw new QuarantineFull(
        `the quarantine ${this.#directory} is full (${this.#bytes} of ${this.#bytesMax} bytes): ` +
          'see why brokers refuse these batches, then move its files away',
      );
    }
    const path = join(this.#directory, `${String(this.#nextOffset).padStart(20, '0')}.log`);
    const copy = Buffer.from(batch);
    // Where the journal has notes of its own, Kafka has these.
    copy.writeBigInt64BE(BigInt(this.#nextOffset), 0);
    copy.writeInt32BE(-1, 12);
    if (!(await writeNew(path, copy))) {
      // Another process on this directory was faster. So all of them keep the bound together: what one
      // has not seen yet stands where it would go on.
      this.#known = false;
      return this.#put(batch);
    }
    this.#bytes += copy.length;
    this.#nextOffset += Math.max(1, readBatchHeader(copy, 0).recordCount);
    return path;
  }

  async #look(): Promise<void> {
    await mkdir(this.#directory, { recursive: true });
    await syncDirectory(dirname(this.#directory));
    const names = (await readdir(this.#directory)).filter((name) => FILE_NAME.test(name));
    const paths = names.toSorted().map((name) => join(this.#directory, name));
    const sizes = await Promise.all(paths.map(async (path) => (await stat(path)).size));
    this.#bytes = sizes.reduce((sum, size) => sum + size, 0);
    const last = paths.at(-1);
    if (last !== undefined) this.#nextOffset = Math.max(this.#nextOffset, await endOffset(last));
    this.#known = true;
  }
}

async function endOffset(path: string): Promise<number> {
  const first = Number(FILE_NAME.exec(path.slice(-24))?.[1]);
  return first + Math.max(1, readBatchHeader(await readFile(path), 0).recordCount);
}

async function writeDurably(path: string, bytes: Buffer): Promise<void> {
  const file = await open(path, 'w');
  try {
    await file.writeFile(bytes);
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** A name is in the directory, not in the file: without this a power cut may take it. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** @returns false where the file is there already */
async function writeNew(path: string, bytes: Buffer): Promise<boolean> {
  const unfinished = `${path}.${process.pid}`;
  try {
    await writeDurably(unfinished, bytes);
    await link(unfinished, path);
    await syncDirectory(dirname(path)).catch(async (error: Error) => {
      await rm(path, { force: true }); // whoever tries again leaves no second copy
      throw error;
    });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  } finally {
    await rm(unfinished, { force: true });
  }
}
