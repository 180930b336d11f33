// The Kafka side of a journal: what was sealed is taken oldest first, placed, and acknowledged in any
// order; a segment that is done with goes back to its owner. Knows nothing of how records get in: that
// is journal.ts, or nobody (orphaned-journal.ts).

import { BATCH_HEADER_BYTES } from '../record-batch.ts';
import { Cursor, type JournalledBatch } from './cursor.ts';
import {
  batchStart,
  type JournalledHeader,
  type Placement,
  placeBatch,
  placementIntact,
  wasReplaced,
} from './journalled-batch.ts';
import {
  findBatch,
  type Hole,
  isIntact,
  lastValue,
  newestValue,
  oldestValue,
  recoverTail,
} from './recovery.ts';
import type { Segment } from './segment.ts';
import type { Syncer } from './syncer.ts';

export abstract class Backlog {
  abstract readonly directory: string;
  /** Called in the tick a batch is sealed in. */
  onSealed: () => void = () => {};
  /** Oldest first; the last one may still grow. */
  protected readonly chain: Segment[] = [];
  readonly #cursor = new Cursor();
  /** Undefined = all segments are read. */
  #reading: Segment | undefined;
  #readPosition = 0;
  /** The batch found last in the segment that is read. */
  #previous: { readonly position: number; readonly end: number } | undefined;
  /** Those noted when the tail was recovered. Reading comes by them again. */
  #tailHoles: { readonly generation: number; readonly from: number; readonly bytes: number }[] = [];

  protected abstract get syncer(): Syncer;
  /** All of it is Kafka's: it has left the chain. */
  protected abstract release(segment: Segment): void;
  protected abstract noteHole(hole: Hole): void;

  /** The oldest sealed batch that nobody has taken yet. */
  take(): JournalledBatch | undefined {
    for (;;) {
      const batch = this.#read();
      if (batch) {
        this.#cursor.take(batch);
        return batch;
      }
      const finished = this.#reading;
      if (!finished || finished === this.growing) return undefined;
      this.releaseIfClear(finished);
    }
  }

  /** Is a sealed batch left that nobody has taken? */
  get hasUntaken(): boolean {
    return this.#peek() !== undefined || this.#reading !== this.growing;
  }

  /** A view of the batch's bytes as Kafka wants them, but for the first 16 (record-batch.ts). */
  bytesOf(batch: JournalledBatch): Buffer {
    return batch.segment.buffer.subarray(batch.position, batch.end);
  }

  /** Are the records, and all of the header but what `place` writes, what was sealed? */
  isIntact({ segment, position }: JournalledBatch): boolean {
    return isIntact(segment, position);
  }

  /**
   * Writes partition, producer id, epoch and sequence into the batch: before its first send, which has
   * to wait until it is `durable`. Else a power cut could leave a batch that Kafka has and nobody knows.
   */
  place(batch: JournalledBatch, placement: Placement): void {
    placeBatch(batch.segment.buffer, batch.position, batch.end, placement);
    batch.placement = placement;
    batch.syncRound = this.syncer.nextRound;
    this.syncer.touch(batch.segment);
  }

  /** Would a power cut leave the placed batch, and what it was placed with? */
  isDurable(batch: JournalledBatch): boolean {
    return this.syncer.hasEnded(batch.syncRound);
  }

  /** Until it is, or the disk has proven unable: syncer.ts. Batches placed before share the fdatasync. */
  durable(batch: JournalledBatch): Promise<void> {
    return this.syncer.ended(batch.syncRound);
  }

  /** Kafka has it (or it was given up by a counted rule): its room may be used again. */
  acknowledge(batch: JournalledBatch): void {
    this.#cursor.acknowledge(batch);
    this.syncer.touch(batch.segment);
    this.releaseIfClear(batch.segment);
  }

  /** Bytes between what Kafka has and the newest batch, spread over the chain. */
  get backlogBytes(): number {
    let bytes = 0;
    for (const segment of this.chain) {
      bytes += Math.max(0, this.endOf(segment) - segment.acknowledged);
    }
    return bytes;
  }

  /** Receive time (ms since 1970) of the oldest sealed record that Kafka has not acknowledged. */
  get oldestTimestamp(): number | undefined {
    return this.#cursor.oldestTimestamp ?? this.#peek();
  }

  /** The segment that batches are still added to. */
  protected get growing(): Segment | undefined {
    return undefined;
  }

  /** Behind the segment's last sealed batch. */
  protected endOf(segment: Segment): number {
    return segment.closed ?? segment.bytes;
  }

  /** The chain is what was found in the directory: begin with its oldest segment. */
  protected readFromOldest(): void {
    this.#readFrom(this.chain[0]);
  }

  /**
   * Seals what was open in the newest segment when the last process ended, and notes what is damaged.
   * @returns the position behind its last batch; undefined = it was closed, or there is none
   */
  protected sealTail(): number | undefined {
    const tail = this.chain.at(-1);
    if (!tail || tail.closed !== undefined) return undefined;
    const { end, holes } = recoverTail(this.chain);
    this.#tailHoles = holes.map(({ from, bytes }) => ({
      generation: tail.generation,
      from,
      bytes,
    }));
    for (const { before, after, bytes } of holes) this.noteHole({ before, after, bytes });
    return end;
  }

  /** The oldest segment leaves the chain, whatever is in it. */
  protected forgetOldest(): void {
    const oldest = this.chain.shift();
    if (oldest) this.#cursor.forget(oldest);
    this.readFromOldest();
  }

  /** Reading leaves it once it is read, and it is released once it is acknowledged too. */
  protected releaseIfClear(segment: Segment): void {
    const isLeft = segment === this.#reading && segment !== this.growing;
    if (isLeft && this.#readPosition >= this.endOf(segment)) {
      this.#readFrom(this.chain[this.chain.indexOf(segment) + 1]);
    }
    const isRead = segment.generation < (this.#reading?.generation ?? Infinity);
    const index = isRead && this.#cursor.isClear(segment) ? this.chain.indexOf(segment) : -1;
    if (index < 0) return;
    this.chain.splice(index, 1);
    this.#cursor.forget(segment);
    if (segment.closed !== undefined) segment.acknowledged = segment.closed;
    this.release(segment);
  }

  #readFrom(segment: Segment | undefined): void {
    this.#reading = segment;
    this.#readPosition = segment?.acknowledged ?? 0;
    this.#previous = undefined;
  }

  #read(): JournalledBatch | undefined {
    const segment = this.#reading;
    if (!segment) return undefined;
    const to = this.endOf(segment);
    if (this.#readPosition >= to) return undefined;
    const from = this.#readPosition;
    const found = findBatch(segment, from, to);
    this.#readPosition = found ? batchStart(found.header.end) : to;
    if (!found) {
      // Where it ended nobody knows, if another was begun and a power cut took the note of its end.
      const isUnclosed = segment.closed === undefined && segment !== this.chain.at(-1);
      if (segment.closed !== undefined) this.#reportHole(segment, from, to - batchStart(from));
      else if (isUnclosed) this.#reportHole(segment, from, 0);
      return undefined;
    }
    const { position, header, lostBytes } = found;
    if (lostBytes > 0) this.#reportHole(segment, from, lostBytes);
    this.#previous = { position, end: header.end };
    // All that was found at the start is synced in the first round.
    return {
      ...header,
      ...provenPlacement(segment, position, header),
      segment,
      position,
      syncRound: 1,
    };
  }

  #reportHole(segment: Segment, from: number, bytes: number): void {
    if (this.#isNoted(segment, from, bytes)) return;
    const previous = this.#previous;
    const index = this.chain.indexOf(segment);
    const before = previous
      ? lastValue(segment, previous.position, previous.end)
      : newestValue(this.chain.slice(0, index + 1), from);
    const after = oldestValue(this.chain.slice(index), from, (other) => this.endOf(other));
    this.noteHole({ before, after, bytes });
  }

  /** A larger one is another: more was damaged since (syncer.ts: `onFailure`). */
  #isNoted({ generation }: Segment, from: number, bytes: number): boolean {
    return this.#tailHoles.some(
      (hole) => hole.generation === generation && hole.from === from && hole.bytes === bytes,
    );
  }

  /** Timestamp of the oldest sealed batch that nobody has taken. */
  #peek(): number | undefined {
    if (!this.#reading) return undefined;
    for (let index = this.chain.indexOf(this.#reading); index < this.chain.length; index++) {
      const segment = this.chain[index]!;
      const from = segment === this.#reading ? this.#readPosition : segment.acknowledged;
      const to = this.endOf(segment);
      if (from < Math.min(to, segment.bytes - BATCH_HEADER_BYTES)) {
        return Number(segment.buffer.readBigInt64BE(from + 27));
      }
    }
    return undefined;
  }
}

/** What a power cut may have torn is taken back. */
function provenPlacement(
  { buffer, recoveredEnd }: Segment,
  position: number,
  { placement }: JournalledHeader,
): Pick<JournalledBatch, 'placement' | 'placementLost'> {
  if (position >= recoveredEnd) return { placement, placementLost: false };
  if (placement && placementIntact(buffer, position)) return { placement, placementLost: false };
  return { placement: undefined, placementLost: wasReplaced(buffer, position) };
}
