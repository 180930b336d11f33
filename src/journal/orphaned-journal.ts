// A journal that nobody writes to any more, opened to be emptied: its batches are taken and acknowledged
// as in any journal, nothing is appended, and once Kafka has all of it its files are removed.

import { Backlog } from './backlog.ts';
import type { JournalledBatch } from './cursor.ts';
import { lockDirectory } from './journal-directory.ts';
import { recoverTail } from './recovery.ts';
import type { Segment } from './segment.ts';
import { SegmentFiles } from './segment-files.ts';
import { Syncer } from './syncer.ts';

export interface OrphanOptions {
  readonly directory: string;
  readonly syncMs: number;
  readonly onError: (action: string, error: Error) => void;
  /** Bytes that should have been batches are not readable. */
  readonly onLost: (bytes: number) => void;
}

export class OrphanedJournal extends Backlog {
  readonly directory: string;
  acknowledgedRecords = 0;
  readonly #files: SegmentFiles;
  readonly #onLost: (bytes: number) => void;
  readonly #syncer: Syncer;

  /** @throws {JournalUnusable} above all `JournalLocked`: it is no orphan */
  constructor({ directory, syncMs, onError, onLost }: OrphanOptions) {
    super();
    this.directory = directory;
    this.#onLost = onLost;
    this.#files = new SegmentFiles(directory, lockDirectory(directory), onError);
    this.#syncer = new Syncer({
      syncMs,
      segments: this.#files.found,
      sync: (segment) => this.#files.sync(segment),
      beforeSync: () => {},
      // What is mapped can still be read and sent, and nothing new is written.
      onFailure: (segment, error) => {
        segment.retired = true;
        onError(`fdatasync ${segment.path}`, error);
      },
    });
    const used = this.#files.found.filter(
      ({ generation, untouched }) => generation > 0 && !untouched,
    );
    this.chain.push(...used.toSorted((a, b) => a.generation - b.generation));
    for (const segment of this.chain) segment.recoveredEnd = segment.bytes;
    this.#closeTail();
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
    await this.#syncer.flush();
    try {
      if (this.backlogBytes > 0) return;
      for (const segment of this.#files.found) this.#files.delete(segment);
    } finally {
      this.#files.close();
    }
  }

  /** The segment that was written to when the last process ended: seals what was open. */
  #closeTail(): void {
    const tail = this.chain.at(-1);
    if (!tail || tail.closed !== undefined) return;
    const { end, lostBytes } = recoverTail(tail);
    this.#onLost(lostBytes);
    // After a power cut the position that Kafka has may lie behind the last batch that is left.
    tail.closed = Math.max(end, tail.acknowledged);
  }

  protected override touch(segment: Segment): void {
    this.#syncer.touch(segment);
  }

  /** Stays until all are done with: one that is kept tells the next start what Kafka has. */
  protected override release(segment: Segment): void {
    this.touch(segment);
  }

  protected override noteLost(_segment: Segment, bytes: number): void {
    this.#onLost(bytes);
  }
}
