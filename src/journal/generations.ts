// The generations of a journal's segments: each is given out once and never again, whatever happens.
//
// A power cut may take a segment's identity back and keep batches of the generation it had. Given out a
// second time, that number would bring them to life between later ones. So numbers are reserved in a file
// of their own, on the disk before the first one is used; a start goes on behind all that were reserved.

import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  openSync,
  readFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { syncDirectory } from './journal-directory.ts';

/**
 * At a time, besides one for each file: more than are begun while a reservation reaches the disk. 2^31 are
 * enough for two million starts of a journal of 64 segments.
 */
const RESERVED = 1024;
const datasync = promisify(fdatasync);

export class Generations {
  readonly #path: string;
  readonly #onError: (action: string, error: Error) => void;
  readonly #atATime: number;
  #last: number;
  #reserved: number;
  #isExtending = false;

  /** @param segments those that are there; each may begin anew at once */
  constructor(
    directory: string,
    segments: readonly { readonly generation: number }[],
    onError: (action: string, error: Error) => void,
  ) {
    this.#path = join(directory, 'generations');
    this.#onError = onError;
    this.#atATime = RESERVED + segments.length;
    const highest = segments.reduce((last, { generation }) => Math.max(last, generation), 0);
    const before = readReserved(this.#path);
    // Without the file, as before hoplog had it, what may have been given out can only be guessed.
    this.#last = Math.max(highest, before ?? highest + this.#atATime);
    this.#reserved = this.#last + this.#atATime;
    try {
      const descriptor = write(this.#path, this.#reserved);
      fdatasyncSync(descriptor);
      closeSync(descriptor);
      if (before === undefined) syncDirectory(directory);
    } catch (error) {
      // A full disk: the journal that is there is worth more than what a power cut might do to it.
      this.#fail(error as Error);
    }
  }

  next(): number {
    this.#last++;
    if (this.#reserved - this.#last < RESERVED / 2 && !this.#isExtending) void this.#extend();
    return this.#last;
  }

  /** Never rejects. */
  async #extend(): Promise<void> {
    this.#isExtending = true;
    const reserved = this.#last + this.#atATime;
    try {
      const descriptor = write(this.#path, reserved);
      await datasync(descriptor).finally(() => closeSync(descriptor));
      this.#reserved = reserved;
    } catch (error) {
      this.#fail(error as Error);
    } finally {
      this.#isExtending = false;
    }
  }

  #fail(error: Error): void {
    this.#onError(`reserve generations in ${this.#path}`, error);
  }
}

function readReserved(path: string): number | undefined {
  try {
    const reserved = Number(readFileSync(path, 'latin1'));
    return Number.isSafeInteger(reserved) && reserved > 0 ? reserved : undefined;
  } catch {
    return undefined;
  }
}

/** In place and always as long, so that it stays one block of the disk, whole or not written. */
function write(path: string, reserved: number): number {
  const descriptor = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    writeSync(descriptor, `${String(reserved).padStart(10, '0')}\n`, 0);
    return descriptor;
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}
