// Host names that a test makes up and changes while a program runs: the program gets a mount namespace of
// its own in which /etc/hosts is the test's file and no name server answers. Needs Linux and the right to
// mount, which root has; elsewhere such tests are skipped and say why.

import { test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tempDir } from './temp-dir.ts';

/** `sh -c` gets the two files in front of the command. */
const MOUNT_AND_RUN =
  'mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/resolv.conf && shift && exec "$@"';

export class OwnNames implements Disposable {
  /** Put in front of the program's command. */
  readonly wrapper: readonly string[];
  readonly #dir = tempDir();
  readonly #hosts = join(this.#dir.path, 'hosts');

  constructor() {
    // Nobody listens there: names that are not in the file are refused at once.
    const resolver = join(this.#dir.path, 'resolv.conf');
    writeFileSync(resolver, 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n');
    writeFileSync(this.#hosts, '');
    this.wrapper = ['unshare', '--mount', 'sh', '-c', MOUNT_AND_RUN, this.#hosts, resolver];
  }

  /** The one name there is; without an address there is none. In place: the file is mounted. */
  set(name: string, address: string | undefined): void {
    writeFileSync(this.#hosts, address === undefined ? '' : `${address} ${name}\n`);
  }

  [Symbol.dispose](): void {
    this.#dir[Symbol.dispose]();
  }
}

/** A test with host names of its own. */
export function nameTest(name: string, run: () => Promise<void>, timeoutMs: number): void {
  const mayMount = Bun.which('unshare') !== null && process.getuid?.() === 0;
  if (mayMount) {
    test(name, run, timeoutMs);
    return;
  }
  process.stderr.write(`SKIPPED "${name}": needs unshare and root for an /etc/hosts of its own\n`);
  test.skip(name, run, timeoutMs);
}
