// fdatasync of what was written, `syncMs` after the first write that is not on the disk yet, off the
// main thread and never two at a time: what bounds the loss of a power cut. Costs nothing while idle.

import type { Segment } from './segment.ts';

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
   * nothing. The segment is not to be written any more.
   */
  readonly onFailure: (segment: Segment, error: Error) => void;
}

export class Syncer {
  rounds = 0;
  seconds = 0;
  readonly #options: SyncerOptions;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;

  constructor(options: SyncerOptions) {
    this.#options = options;
  }

  /** Hot path: twice a field's look while the next round is due anyway. */
  touch(segment: Segment): void {
    segment.dirty = true;
    this.#timer ??= setTimeout(() => {
      this.#running = this.#round();
    }, this.#options.syncMs);
  }

  /** Everything written so far is on the disk when this resolves, or was reported to `onFailure`. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#running;
    await this.#round();
    clearTimeout(this.#timer);
  }

  async #round(): Promise<void> {
    const { segments, sync, beforeSync, onFailure } = this.#options;
    const started = performance.now();
    for (const segment of segments.filter(isDue)) {
      segment.dirty = false;
      beforeSync(segment);
      await sync(segment).catch((error: Error) => onFailure(segment, error));
    }
    this.rounds++;
    this.seconds += (performance.now() - started) / 1000;
    this.#timer = undefined;
    this.#running = undefined;
    const written = segments.find(isDue);
    if (written) this.touch(written);
  }
}

/** A retired segment is not asked for again: the disk would say yes to what it has dropped. */
function isDue({ dirty, retired }: Segment): boolean {
  return dirty && !retired;
}
