// fdatasync of what was written, off the main thread and never two at a time: `syncMs` after the first
// write that is not on the disk yet, or at once for somebody who waits. Costs nothing while idle.
//
// It goes in rounds, each over all that is dirty when its turn comes: what is written before a round
// begins is on the disk when it has ended, so one round serves everybody who came before it.

import { Histogram } from '../histogram.ts';
import type { Segment } from './segment.ts';

/**
 * A disk that needs longer for a round keeps nobody waiting: delivery goes on without it. Far above a
 * healthy fdatasync (0.2 to 30 ms) and a busy disk's (2 s), and half of SHUTDOWN_MS.
 */
export const ROUND_MS_MAX = 5000;
/**
 * It passes in so many pieces: while this process was stopped or its event loop blocked, the disk may well
 * have answered, and nobody was there to hear it. Such a time counts as one piece.
 */
export const PATIENCE_PIECES = 5;
const ROUND_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export interface SyncerOptions {
  readonly syncMs: number;
  /** The segments to look after, oldest first. */
  readonly segments: readonly Segment[];
  /** fdatasync of one. */
  readonly sync: (segment: Segment) => Promise<void>;
  /** Called right before a segment's fdatasync: what is noted there is what the disk will prove. */
  readonly beforeSync: (segment: Segment) => void;
  /**
   * The kernel may have dropped what it could not write: a second fdatasync would succeed and prove
   * nothing. The segment is `refused` from now on.
   */
  readonly onFailure: (segment: Segment, error: Error) => void;
  readonly onError: (action: string, error: Error) => void;
}

export class Syncer {
  /** Rounds that have ended. */
  rounds = 0;
  readonly seconds = new Histogram(ROUND_SECONDS);
  /** Those that waited and were sent away. */
  givenUp = 0;
  readonly #options: SyncerOptions;
  /** Something is dirty and the timer for it runs, or a round is running. */
  #due = false;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #patience: Timer | undefined;
  #overdue = false;
  #waiting: { readonly round: number; readonly resolve: () => void }[] = [];

  constructor(options: SyncerOptions) {
    this.#options = options;
  }

  /** Hot path: two fields while the next round is due anyway. */
  touch(segment: Segment): void {
    segment.dirty = true;
    if (this.#due) return;
    this.#due = true;
    this.#timer = setTimeout(() => void this.#begin(), this.#options.syncMs);
  }

  /** The number of the round that covers what is written now. */
  get nextRound(): number {
    return this.rounds + (this.#running ? 2 : 1);
  }

  /** Has that round ended? */
  hasEnded(round: number): boolean {
    return this.rounds >= round;
  }

  /**
   * Resolves when that round has ended, whatever became of it; it begins as soon as it can. Gives up
   * on a disk that hangs: ROUND_MS_MAX after the running round began, at once while it still runs.
   */
  ended(round: number): Promise<void> {
    if (this.hasEnded(round)) return Promise.resolve();
    if (this.#overdue) {
      this.givenUp++;
      return Promise.resolve();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ round, resolve });
    // Not in this tick: what else is written in it shares the round.
    queueMicrotask(() => {
      if (!this.#running && !this.hasEnded(round)) void this.#begin();
    });
    return promise;
  }

  /** Everything written so far is on the disk when this resolves, or was reported to `onFailure`. */
  async flush(): Promise<void> {
    const round = this.nextRound;
    while (!this.hasEnded(round)) await (this.#running ?? this.#begin());
    clearTimeout(this.#timer);
  }

  #begin(): Promise<void> {
    clearTimeout(this.#timer);
    this.#due = true;
    const started = performance.now();
    this.#bePatient(PATIENCE_PIECES);
    this.#running = this.#syncDirty().finally(() => {
      clearTimeout(this.#patience);
      this.seconds.observe((performance.now() - started) / 1000);
      this.#finish();
    });
    return this.#running;
  }

  async #syncDirty(): Promise<void> {
    const { segments, sync, beforeSync, onFailure } = this.#options;
    for (const segment of segments.filter(isDue)) {
      segment.dirty = false;
      beforeSync(segment);
      await sync(segment).catch((error: Error) => onFailure(segment, error));
    }
  }

  #finish(): void {
    this.rounds++;
    this.#running = undefined;
    this.#overdue = false;
    this.#due = false;
    const waiting = this.#waiting;
    this.#waiting = waiting.filter(({ round }) => !this.hasEnded(round));
    for (const { round, resolve } of waiting) if (this.hasEnded(round)) resolve();
    const written = this.#options.segments.find(isDue);
    if (this.#waiting.length > 0) void this.#begin();
    else if (written) this.touch(written);
  }

  #bePatient(pieces: number): void {
    this.#patience = setTimeout(() => {
      if (pieces > 1) this.#bePatient(pieces - 1);
      else this.#giveUpWaiting();
    }, ROUND_MS_MAX / PATIENCE_PIECES);
  }

  #giveUpWaiting(): void {
    this.#overdue = true;
    this.givenUp += this.#waiting.length;
    for (const { resolve } of this.#waiting) resolve();
    this.#waiting = [];
    const meanwhile = 'batches are sent without it, and may arrive twice should the power fail now';
    this.#options.onError(`fdatasync within ${ROUND_MS_MAX} ms`, new Error(meanwhile));
  }
}

function isDue({ dirty, refused }: Segment): boolean {
  return dirty && !refused;
}
