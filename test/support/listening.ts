// The public port with a batcher and a journal of its own behind it, on a port of the kernel's choice:
// what was answered can be compared with what was recorded.

import { defaultRedirect } from '../../src/http/redirect.ts';
import { Listener } from '../../src/http/listener.ts';
import { Batcher, type LostRange } from '../../src/record/batcher.ts';
import type { Click } from '../../src/record/click.ts';
import { click } from '../../src/record/click.ts';
import { encoderFor } from '../../src/record/encode.ts';
import { openJournal, type OpenJournal, takeValues } from './journals.ts';
import { tempDir } from './temp-dir.ts';

export interface ListeningOptions {
  readonly refuseWhenFull?: boolean;
  readonly status?: number;
  readonly location?: string;
  readonly journalBytes?: number;
  readonly hostname?: string;
}

export class Listening implements AsyncDisposable {
  readonly open: OpenJournal;
  readonly batcher: Batcher;
  readonly listener: Listener;
  readonly lost: LostRange[] = [];
  readonly #dir = tempDir();
  #closed = false;

  constructor(options: ListeningOptions = {}) {
    const { refuseWhenFull = false, status = 301, location = 'http://google.com' } = options;
    const { journalBytes = 8 * 2 ** 20, hostname = '127.0.0.1' } = options;
    this.open = openJournal(this.#dir.path, { journalBytes, batchBytes: 100_000 });
    this.batcher = new Batcher(this.open.journal, {
      kind: click,
      encode: encoderFor(click, 'json'),
      flushIntervalMs: 3_600_000,
      onLost: (range) => void this.lost.push(range),
    });
    this.listener = new Listener(
      {
        hostname,
        port: 0,
        sharedPort: false,
        redirect: defaultRedirect(location, status),
        refuseWhenFull,
      },
      this.batcher,
      this.open.journal,
    );
  }

  get url(): string {
    return this.listener.url;
  }

  /** What was recorded since the last call. */
  records(): Click[] {
    this.batcher.flush();
    return takeValues(this.open.journal).map((value) => JSON.parse(value) as Click);
  }

  /** Without draining: a test that has looked at its answers wants nothing else of this port. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.listener.drain();
    this.batcher.flush();
    await this.open.journal.close();
    this.#dir[Symbol.dispose]();
  }
}
