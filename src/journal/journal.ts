// The only meeting point of the two halves: `append` on the request side never waits and never
// throws, `take` / `place` / `acknowledge` on the Kafka side know no HTTP.
//
// A chain of segments: the oldest is being sent, the last one (`active`) holds the open batch.
// What is appended is in the kernel's page cache before the response bytes are, so it survives any
// end of this process; `syncMs` bounds what a power cut can take.

import {
  BATCH_HEADER_BYTES,
  RECORD_OVERHEAD_BYTES_MAX,
  type RecordValue,
  valueBytes,
} from '../record-batch.ts';
import { Cursor, type JournalledBatch } from './cursor.ts';
import { batchStart, type Placement, placeBatch, placementIntact } from './journalled-batch.ts';
import { OpenBatch } from './open-batch.ts';
import { findBatch, recoverTail } from './recovery.ts';
import { FIRST_BATCH_AT, type Segment } from './segment.ts';
import { isVolatile, JournalUnusable } from './journal-directory.ts';
import { RESERVE_BYTES, segmentBytesFor } from './segment-size.ts';
import { SegmentStore } from './segment-store.ts';
import { Syncer } from './syncer.ts';

export type AppendResult = 'appended' | 'full' | 'oversize';

export interface JournalOptions {
  readonly directory: string;
  /** Total disk, bytes. */
  readonly journalBytes: number;
  /** A batch holds at most this, bytes, header included. */
  readonly batchBytes: number;
  readonly syncMs: number;
  /** Local mode: nobody acknowledges, the oldest segment makes room. */
  readonly recycleOldest: boolean;
  readonly onError: (action: string, error: Error) => void;
}

export interface JournalCounters {
  appended: number;
  sealed: number;
  /** Bytes that should have been batches and were not readable after a crash. */
  lostBytes: number;
  /** Local mode: oldest segments that made room. */
  recycledSegments: number;
  /** Segments that the disk refused to keep: delivered from memory, then deleted. */
  refusedSegments: number;
}

export class Journal {
  readonly counters: JournalCounters = {
    appended: 0,
    sealed: 0,
    lostBytes: 0,
    recycledSegments: 0,
    refusedSegments: 0,
  };
  /** Called in the tick a batch is sealed in. */
  onSealed: () => void = () => {};
  readonly #options: JournalOptions;
  readonly #store: SegmentStore;
  readonly #cursor = new Cursor();
  readonly #chain: Segment[];
  #active: Segment;
  /** Its damage was counted when it was recovered. */
  #recoveredTail: Segment | undefined;
  #reading: Segment;
  #readPosition: number;
  readonly #open: OpenBatch;
  /** Behind this position of the active segment, room is looked after. */
  #nearEnd = 0;
  #full = false;
  /** Where the next batch of the active segment starts. */
  #nextPosition = FIRST_BATCH_AT;
  readonly #syncer: Syncer;

  /** @throws {JournalUnusable} */
  constructor(options: JournalOptions) {
    this.#options = options;
    const { directory, journalBytes, batchBytes, onError } = options;
    const onRefused = (segment: Segment, error: Error): void => this.#giveUp(segment, error);
    const segmentBytes = segmentBytesFor(journalBytes, batchBytes);
    this.#store = new SegmentStore({ directory, segmentBytes, journalBytes, onError, onRefused });
    this.#chain = this.#store.recovered.filter((segment) => this.#hasBacklog(segment));
    for (const segment of this.#chain) segment.recoveredEnd = segment.bytes;
    this.#active = this.#continueTail() ?? this.#firstSegment();
    this.#open = new OpenBatch(this.#active);
    this.#syncer = new Syncer({
      syncMs: options.syncMs,
      segments: this.#chain,
      sync: (segment) => this.#store.sync(segment),
      beforeSync: (segment) => {
        if (segment === this.#active && this.#open.count > 0) {
          segment.writeSyncedMark(this.#open.mark());
        }
      },
      onFailure: onRefused,
    });
    this.#setNearEnd();
    this.#reading = this.#chain[0]!;
    this.#readPosition = this.#reading.acknowledged;
    this.#store.prepare();
  }

  /** No room is left and none can be made: `append` would answer `full`. Cheap while there is room. */
  get full(): boolean {
    if (this.#full && this.#store.ensureNext()) this.#full = false;
    return this.#full;
  }

  /** Records in the open batch; 0 = none is open. */
  get openRecords(): number {
    return this.#open.count;
  }

  get bytes(): number {
    return this.#store.bytes;
  }

  /** Is it kept in memory only (tmpfs), where a power cut or the end of a container takes it? */
  get isVolatile(): boolean {
    return isVolatile(this.#options.directory);
  }

  /** Rounds of fdatasync, and the seconds they took. */
  get syncs(): { readonly rounds: number; readonly seconds: number } {
    return this.#syncer;
  }

  /** Bytes between what Kafka has and the newest record, spread over the chain. */
  get backlogBytes(): number {
    let bytes = 0;
    for (const segment of this.#chain) {
      const end = segment === this.#active ? this.#writtenEnd() : (segment.closed ?? segment.bytes);
      bytes += Math.max(0, end - segment.acknowledged);
    }
    return bytes;
  }

  /** Receive time (ms since 1970) of the oldest record that Kafka has not acknowledged. */
  get oldestTimestamp(): number | undefined {
    if (this.#cursor.oldestTimestamp !== undefined) return this.#cursor.oldestTimestamp;
    const waiting = this.#peek();
    if (waiting !== undefined) return waiting;
    return this.#open.count > 0 ? this.#open.baseTimestamp : undefined;
  }

  /**
   * Appends one record; hot path. `timestamp`: receive time, ms since 1970.
   * `oversize`: larger than a batch may be. `full`: see `full`. In both cases nothing is written.
   */
  append(value: RecordValue, timestamp: number): AppendResult {
    if (this.#open.count > 0 && this.#open.append(value, timestamp)) {
      this.#noteAppended();
      return 'appended';
    }
    this.seal();
    return this.#appendFirst(value, timestamp);
  }

  /** Closes the open batch, if there is one, and hands it to the Kafka side. */
  seal(): void {
    if (this.#open.count === 0) return;
    this.#open.seal();
    this.#nextPosition = batchStart(this.#open.end);
    this.counters.sealed++;
    this.onSealed();
  }

  /** The oldest sealed batch that nobody has taken yet. */
  take(): JournalledBatch | undefined {
    for (;;) {
      const batch = this.#read();
      if (batch) {
        this.#cursor.take(batch);
        return batch;
      }
      if (this.#reading === this.#active) return undefined;
      const finished = this.#reading;
      this.#reading = this.#chain[this.#chain.indexOf(finished) + 1]!;
      this.#readPosition = this.#reading.acknowledged;
      this.#releaseIfClear(finished);
    }
  }

  /** Is a sealed batch left that nobody has taken? */
  get hasUntaken(): boolean {
    return this.#peek() !== undefined || this.#reading !== this.#active;
  }

  /** A view of the batch's bytes as Kafka wants them, but for the first 16 (record-batch.ts). */
  bytesOf(batch: JournalledBatch): Buffer {
    return batch.segment.buffer.subarray(batch.position, batch.end);
  }

  /** Writes partition, producer id, epoch and sequence into the batch: before its first send. */
  place(batch: JournalledBatch, placement: Placement): void {
    placeBatch(batch.segment.buffer, batch.position, batch.end, placement);
    batch.placement = placement;
    this.#syncer.touch(batch.segment);
  }

  /** Kafka has it (or it was given up by a counted rule): its room may be used again. */
  acknowledge(batch: JournalledBatch): void {
    this.#cursor.acknowledge(batch);
    this.#syncer.touch(batch.segment);
    this.#releaseIfClear(batch.segment);
  }

  /** Seals, and puts all that was written on the disk. */
  async close(): Promise<void> {
    this.seal();
    await this.#syncer.flush();
    await this.#store.close();
  }

  #hasBacklog(segment: Segment): boolean {
    const { closed } = segment;
    if (closed === undefined || segment.acknowledged < closed) return true;
    if (this.#options.recycleOldest) return true;
    this.#store.release(segment);
    return false;
  }

  /** The segment the last process was writing to, ready to go on behind its last batch. */
  #continueTail(): Segment | undefined {
    const tail = this.#chain.at(-1);
    if (!tail || tail.closed !== undefined) return undefined;
    const { end, lostBytes } = recoverTail(tail);
    this.counters.lostBytes += lostBytes;
    tail.recoveredEnd = end;
    // After a power cut the position that Kafka has may lie behind the last batch that is left.
    this.#nextPosition = Math.max(end, tail.acknowledged);
    this.#recoveredTail = tail;
    return tail;
  }

  #firstSegment(): Segment {
    const segment = this.#store.next() ?? this.#recycleOldest();
    if (!segment) {
      const { directory } = this.#options;
      throw new JournalUnusable(
        `no segment can be created in JOURNAL_DIR=${directory}. ` +
          'Free some disk space, or raise JOURNAL_BYTES',
      );
    }
    this.#chain.push(segment);
    this.#nextPosition = FIRST_BATCH_AT;
    return segment;
  }

  #appendFirst(value: RecordValue, timestamp: number): AppendResult {
    if (this.full) return 'full';
    if (!this.#active.retired && this.#openWith(value, timestamp)) return 'appended';
    if (this.#isOversize(value)) return 'oversize';
    if (!this.#roll()) return 'full';
    return this.#openWith(value, timestamp) ? 'appended' : 'oversize';
  }

  #openWith(value: RecordValue, timestamp: number): boolean {
    const { batchBytes } = this.#options;
    if (!this.#open.open(this.#active, this.#nextPosition, batchBytes, value, timestamp)) {
      return false;
    }
    this.#noteAppended();
    return true;
  }

  #isOversize(value: RecordValue): boolean {
    const bytes = BATCH_HEADER_BYTES + RECORD_OVERHEAD_BYTES_MAX + valueBytes(value);
    return bytes > this.#options.batchBytes;
  }

  #noteAppended(): void {
    this.counters.appended++;
    this.#syncer.touch(this.#active);
    if (this.#open.end > this.#nearEnd) this.#checkRoom();
  }

  #setNearEnd(): void {
    this.#nearEnd = this.#active.bytes - RESERVE_BYTES;
  }

  /** Called while the last bytes of a segment fill up: says `full` before a record is refused. */
  #checkRoom(): void {
    this.#full = !this.#options.recycleOldest && !this.#store.ensureNext();
  }

  /** Goes on in the next segment; false when there is none. */
  #roll(): boolean {
    const next = this.#store.next() ?? this.#recycleOldest();
    if (!next) {
      this.#full = true;
      return false;
    }
    const previous = this.#active;
    previous.closed = this.#nextPosition;
    this.#chain.push(next);
    this.#active = next;
    this.#nextPosition = FIRST_BATCH_AT;
    this.#setNearEnd();
    this.#full = false;
    this.#releaseIfClear(previous);
    return true;
  }

  #recycleOldest(): Segment | undefined {
    if (!this.#options.recycleOldest) return undefined;
    const oldest = this.#chain[0];
    if (!oldest || oldest === this.#active) return undefined;
    this.#chain.shift();
    this.#cursor.forget(oldest);
    this.#reading = this.#chain[0]!;
    this.#readPosition = this.#reading.acknowledged;
    this.counters.recycledSegments++;
    return this.#store.reuse(oldest);
  }

  #read(): JournalledBatch | undefined {
    const segment = this.#reading;
    const to = segment === this.#active ? this.#sealedEnd() : (segment.closed ?? segment.bytes);
    if (this.#readPosition >= to) return undefined;
    const from = this.#readPosition;
    const found = findBatch(segment, from, to);
    this.#readPosition = found ? batchStart(found.header.end) : to;
    if (!found) {
      if (segment.closed !== undefined) this.#noteLost(segment, to - from);
      return undefined;
    }
    this.#noteLost(segment, found.lostBytes);
    const { position, header } = found;
    const recovered = position < segment.recoveredEnd;
    const torn = recovered && header.placement && !placementIntact(segment.buffer, position);
    return { ...header, placement: torn ? undefined : header.placement, segment, position };
  }

  #noteLost(segment: Segment, bytes: number): void {
    if (segment !== this.#recoveredTail) this.counters.lostBytes += bytes;
  }

  #writtenEnd(): number {
    return this.#open.count > 0 ? this.#open.end : this.#nextPosition;
  }

  #sealedEnd(): number {
    return this.#open.count > 0 ? this.#open.position : this.#nextPosition;
  }

  /** Timestamp of the oldest sealed batch that nobody has taken. */
  #peek(): number | undefined {
    const { length } = this.#chain;
    for (let index = this.#chain.indexOf(this.#reading); index < length; index++) {
      const segment = this.#chain[index]!;
      const from = segment === this.#reading ? this.#readPosition : segment.acknowledged;
      const to = segment === this.#active ? this.#sealedEnd() : (segment.closed ?? segment.bytes);
      if (from < Math.min(to, segment.bytes - BATCH_HEADER_BYTES)) {
        return Number(segment.buffer.readBigInt64BE(from + 27));
      }
    }
    return undefined;
  }

  #releaseIfClear(segment: Segment): void {
    const passed = segment.generation < this.#reading.generation;
    const index = passed && this.#cursor.isClear(segment) ? this.#chain.indexOf(segment) : -1;
    if (index < 0) return;
    this.#chain.splice(index, 1);
    this.#cursor.forget(segment);
    if (segment.closed !== undefined) segment.acknowledged = segment.closed;
    this.#store.release(segment);
    this.#full = false;
  }

  /**
   * The kernel says once that it could not write, and has dropped what it had: a second fdatasync
   * would succeed and prove nothing. What is mapped can still be read and sent; records go elsewhere.
   */
  #giveUp(segment: Segment, error: Error): void {
    segment.retired = true;
    this.counters.refusedSegments++;
    this.#options.onError(`fdatasync ${segment.path}`, error);
    if (segment !== this.#active) return;
    this.seal();
    this.#roll();
  }
}
