// A journal that nobody writes to any more, opened to be emptied: its batches are taken and acknowledged
// as in any journal, nothing is appended, and once Kafka has all of it its files are removed.

import { Backlog } from './backlog.ts';
import type { JournalledBatch } from './cursor.ts';
import { JournalLock } from './journal-lock.ts';
import { type Hole, type Remains, remainsOf } from './recovery.ts';
import type { Segment } from './segment.ts';
import { SegmentFiles } from './segment-files.ts';
import { Syncer } from './syncer.ts';

export interface OrphanOptions {
  readonly directory: string;
  readonly syncMs: number;
  readonly onError: (action: string, error: Error) => void;
  /** As a journal's: journal.ts. */
  readonly onHole: (hole: Hole) => void;
  readonly onMachineStopped: (remains: Remains) => void;
}

export class OrphanedJournal extends Backlog {
  readonly directory: string;
  acknowledgedRecords = 0;
  readonly #files: SegmentFiles;
  /** All there were, also those that have left the chain. */
  readonly #segments: readonly Segment[];
  readonly #onHole: (hole: Hole) => void;
  protected readonly syncer: Syncer;

  /** @throws {JournalUnusable} above all `JournalLocked`: it is no orphan */
  constructor({ directory, syncMs, onError, ...options }: OrphanOptions) {
    super();
    this.directory = directory;
    this.#onHole = options.onHole;
    const lock = new JournalLock(directory);
    this.#files = new SegmentFiles(directory, lock, onError);
    this.#segments = this.#files.segments;
    this.syncer = new Syncer({
      syncMs,
      segments: this.#segments,
      sync: (segment) => this.#files.sync(segment),
      beforeSync: () => {},
      // What is mapped can still be read and sent, and nothing new is written.
      onFailure: (segment, error) => {
        segment.refused = true;
        onError(`fdatasync ${segment.path}`, error);
      },
      onError,
    });
    const used = this.#segments.filter(({ generation, untouched }) => generation > 0 && !untouched);
    this.chain.push(...used.toSorted((a, b) => a.generation - b.generation));
    for (const segment of this.chain) {
      segment.recoveredEnd = segment.bytes;
      if (segment.retired) this.#files.fillHoles(segment);
    }
    if (lock.machineStopped) options.onMachineStopped(remainsOf(this.chain));
    const end = this.sealTail();
    if (end !== undefined) this.chain.at(-1)!.closed = end;
    // The last process may have been killed before it synced them.
    for (const segment of this.chain) this.syncer.touch(segment);
    this.readFromOldest();
  }

  /** On disk. */
  get bytes(): number {
    return this.#files.bytes;
  }

  override acknowledge(batch: JournalledBatch): void {
    this.acknowledgedRecords += batch.recordCount;
    super.acknowledge(batch);
  }

  /** Removes the files if Kafka has all that was in them. */
  async close(): Promise<void> {
    await this.syncer.flush();
    try {
      if (this.backlogBytes > 0) return;
      for (const segment of this.#segments) this.#files.delete(segment);
    } finally {
      await this.#files.release();
    }
  }

  /** Stays until all are done with: one that is kept tells the next start what Kafka has. */
  protected override release(segment: Segment): void {
    this.syncer.touch(segment);
  }

  protected override noteHole(hole: Hole): void {
    this.#onHole(hole);
  }
}
