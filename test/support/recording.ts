// A batcher on a small journal of its own, and requests that say themselves what becomes of them.

import { Batcher, type BatcherOptions, type LostRange } from '../../src/record/batcher.ts';
import { encoderFor } from '../../src/record/encode.ts';
import type { RecordKind } from '../../src/record/record-kind.ts';
import { openJournal, type OpenJournal, takeValues } from './journals.ts';
import { ANSWER, REMOTE, requestTo, serverKnowing } from './requests.ts';
import { tempDir } from './temp-dir.ts';

export interface RecordingOptions {
  readonly kind?: RecordKind<unknown>;
  readonly flushIntervalMs?: number;
}

const HOUR_MS = 3_600_000;

/** The record is what the query says; `throw=…` makes the step of that name throw it. */
const byQuery: RecordKind<URLSearchParams> = {
  capture(request) {
    const query = new URL(request.url).searchParams;
    if (query.has('capture')) throw new Error(query.get('capture') ?? '');
    return query;
  },
  complete(query) {
    if (query.has('complete')) throw new Error(query.get('complete') ?? '');
    return Number(query.get('n'));
  },
};

export class Recording implements AsyncDisposable {
  readonly batcher: Batcher;
  readonly lost: LostRange[] = [];
  readonly open: OpenJournal;
  readonly #dir = tempDir();

  constructor(given: RecordingOptions = {}) {
    const { kind = byQuery, flushIntervalMs = HOUR_MS } = given;
    this.open = openJournal(this.#dir.path);
    const options: BatcherOptions = {
      kind,
      encode: encoderFor(kind, 'json'),
      flushIntervalMs,
      onLost: (range) => void this.lost.push({ ...range }),
    };
    this.batcher = new Batcher(this.open.journal, options);
  }

  get appended(): number {
    return this.open.journal.counters.appended;
  }

  /** A request, as the handler of Bun.serve hands it over. */
  record(query: string): void {
    this.batcher.record(requestTo(`http://a/?${query}`), serverKnowing(REMOTE), ANSWER);
  }

  /** Values in the journal, in order. */
  sealedValues(): number[] {
    this.batcher.flush();
    return takeValues(this.open.journal).map(Number);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.batcher.flush();
    await this.open.journal.close();
    this.#dir[Symbol.dispose]();
  }
}

/** Behind the microtasks that are queued now. */
export async function microtask(): Promise<void> {
  await Promise.resolve();
}
