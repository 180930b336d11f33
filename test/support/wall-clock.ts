// The wall clock of a program, moved while it runs, by Debian's libfaketime: `await using` nothing, just
//   const clock = new WallClock(dir.path); Server.start({ ...clock.options }); clock.set('+1d');
// Only what the program takes for the date changes; its timers go by the monotonic clock, which stays.

import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Options } from './server.ts';

const [LIBRARY] = new Bun.Glob('*/faketime/libfaketimeMT.so.1').scanSync('/usr/lib');

/** Why clocks cannot be moved here; undefined = they can. */
export const clockFixed =
  LIBRARY === undefined ? 'no libfaketime (Debian: apt-get install libfaketime)' : undefined;

export class WallClock {
  readonly #file: string;

  constructor(directory: string) {
    this.#file = join(directory, 'clock');
    this.set('+0');
  }

  /** For the program's environment. */
  get options(): Options {
    return {
      LD_PRELOAD: join('/usr/lib', LIBRARY ?? ''),
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: 1,
      FAKETIME_DONT_FAKE_MONOTONIC: 1,
    };
  }

  /** By how much it is wrong from now on, as faketime spells it: '+1d', '-1h', '+0'. */
  set(offset: string): void {
    // It is read at any moment: whole or not at all.
    writeFileSync(`${this.#file}.new`, offset);
    renameSync(`${this.#file}.new`, this.#file);
  }
}
