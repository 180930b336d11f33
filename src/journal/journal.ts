// The only meeting point of the two halves: `append` here, on the request side, never waits for Kafka and
// never throws; `take` / `place` / `acknowledge` on the Kafka side (backlog.ts) know no HTTP. For the disk
// it waits only where a burst has outrun the spare that is made in the background: rather that than a
// record lost (SegmentStore.ensureNext).
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
import { Backlog } from './backlog.ts';
import { batchStart } from './journalled-batch.ts';
import { OpenBatch } from './open-batch.ts';
import { type Hole, type Remains, remainsOf } from './recovery.ts';
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
  /** Batches were damaged, after a crash: what stood there is lost. */
  readonly onHole?: (hole: Hole) => void;
  /**
   * The machine went down under the process before this one: what was appended up to syncMs before, and
   * during the fdatasync then running, is lost where it is not among what is left.
   */
  readonly onMachineStopped?: (remains: Remains) => void;
}

export interface JournalCounters {
  appended: number;
  sealed: number;
  /** Bytes that should have been batches and were not readable after a crash. */
  lostBytes: number;
  /** Local mode: oldest segments that made room. */
  recycledSegments: number;
  /** 1 = the machine went down under the process before this one. */
  machineStops: number;
  /** Segments that the disk refused to keep: delivered from memory, then deleted. */
  refusedSegments: number;
}

export class Journal extends Backlog {
  readonly counters: JournalCounters = {
    appended: 0,
    sealed: 0,
    lostBytes: 0,
    recycledSegments: 0,
    machineStops: 0,
    refusedSegments: 0,
  };
  readonly directory: string;
  readonly #options: JournalOptions;
  readonly #store: SegmentStore;
  #active: Segment;
  readonly #open: OpenBatch;
  /** Behind this position of the active segment, room is looked after. */
  #nearEnd = 0;
  #full = false;
  /** Where the next batch of the active segment starts. */
  #nextPosition = FIRST_BATCH_AT;
  protected readonly syncer: Syncer;

  /** @throws {JournalUnusable} */
  constructor(options: JournalOptions) {
    super();
    this.#options = options;
    const { directory, journalBytes, batchBytes, onError } = options;
    this.directory = directory;
    const onRefused = (segment: Segment, error: Error): void => this.#giveUp(segment, error);
    const segmentBytes = segmentBytesFor(journalBytes, batchBytes);
    this.#store = new SegmentStore({ directory, segmentBytes, journalBytes, onError, onRefused });
    const recovered = this.#store.takeRecovered();
    for (const segment of recovered) segment.recoveredEnd = segment.bytes;
    if (this.#store.machineStopped) {
      this.counters.machineStops++;
      options.onMachineStopped?.(remainsOf(recovered));
    }
    this.chain.push(...recovered.filter((segment) => this.#hasBacklog(segment)));
    this.#active = this.#continueTail() ?? this.#firstSegment();
    this.#open = new OpenBatch(this.#active);
    this.syncer = new Syncer({
      syncMs: options.syncMs,
      segments: this.chain,
      sync: (segment) => this.#store.sync(segment),
      beforeSync: (segment) => {
        if (segment === this.#active && this.#open.count > 0) {
          segment.writeSyncedMark(this.#open.mark());
        }
      },
      onFailure: onRefused,
      onError,
    });
    // The last process may have been killed before it synced them.
    for (const segment of this.chain) this.syncer.touch(segment);
    this.#setNearEnd();
    this.readFromOldest();
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

  /** It takes no more of the disk. */
  get bytesMax(): number {
    return this.#options.journalBytes;
  }

  /** Bytes for records until it is full: the rest of the active segment, and segments to come. */
  get freeBytes(): number {
    const { journalBytes, batchBytes, recycleOldest } = this.#options;
    if (recycleOldest) return journalBytes;
    const segmentBytes = segmentBytesFor(journalBytes, batchBytes);
    const taken = this.chain.reduce((sum, segment) => sum + segment.bytes, 0);
    const toCome = Math.floor((journalBytes - taken) / segmentBytes) * segmentBytes;
    const end = this.#open.count > 0 ? this.#open.end : this.#nextPosition;
    const rest = this.#active.retired ? 0 : this.#active.bytes - end;
    return Math.max(0, toCome + rest - RESERVE_BYTES);
  }

  /** Is it kept in memory only (tmpfs), where a power cut or the end of a container takes it? */
  get isVolatile(): boolean {
    return isVolatile(this.#options.directory);
  }

  /** Rounds of fdatasync, the seconds they took, and the batches that were not made to wait for one. */
  get syncs(): Pick<Syncer, 'rounds' | 'seconds' | 'givenUp'> {
    return this.syncer;
  }

  /** Bytes between what Kafka has and the newest record. */
  override get backlogBytes(): number {
    const openBytes = this.#open.count > 0 ? this.#open.end - this.#open.position : 0;
    return super.backlogBytes + openBytes;
  }

  /** Receive time (ms since 1970) of the oldest record that Kafka has not acknowledged. */
  override get oldestTimestamp(): number | undefined {
    const openSince = this.#open.count > 0 ? this.#open.baseTimestamp : undefined;
    return super.oldestTimestamp ?? openSince;
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
    if (this.#isOversize(value)) return this.full ? 'full' : 'oversize';
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

  /** Seals, and puts all that was written on the disk. */
  async close(): Promise<void> {
    this.seal();
    await this.syncer.flush();
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
    const end = this.sealTail();
    if (end === undefined) return undefined;
    const tail = this.chain.at(-1)!;
    tail.recoveredEnd = end;
    // What it sealed first, then the marks: the next power cut may come between two pages.
    if (this.#store.syncNow(tail) && !tail.retired) tail.retireMarks();
    this.#nextPosition = end;
    return tail;
  }

  #firstSegment(): Segment {
    const segment = this.#store.next() ?? this.#recycleOldest();
    if (!segment) return this.#newestAsFull();
    this.chain.push(segment);
    this.#nextPosition = FIRST_BATCH_AT;
    return segment;
  }

  /** No room for a record until Kafka has some of the backlog: a start all the same, or it never has. */
  #newestAsFull(): Segment {
    const newest = this.chain.at(-1);
    if (!newest) {
      const { directory } = this.#options;
      throw new JournalUnusable(
        `no segment can be created in JOURNAL_DIR=${directory}. ` +
          'Free some disk space, or raise JOURNAL_BYTES',
      );
    }
    newest.retired = true;
    this.#nextPosition = newest.closed ?? newest.bytes;
    this.#full = true;
    return newest;
  }

  #appendFirst(value: RecordValue, timestamp: number): AppendResult {
    if (this.full) return 'full';
    if (!this.#active.retired && this.#openWith(value, timestamp)) return 'appended';
    return this.#roll() && this.#openWith(value, timestamp) ? 'appended' : 'full';
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
    this.syncer.touch(this.#active);
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
    this.chain.push(next);
    this.#active = next;
    this.#nextPosition = FIRST_BATCH_AT;
    this.#setNearEnd();
    this.#full = false;
    this.releaseIfClear(previous);
    return true;
  }

  #recycleOldest(): Segment | undefined {
    if (!this.#options.recycleOldest) return undefined;
    const oldest = this.chain[0];
    if (!oldest || oldest === this.#active) return undefined;
    this.forgetOldest();
    this.counters.recycledSegments++;
    return this.#store.reuse(oldest);
  }

  protected override get growing(): Segment {
    return this.#active;
  }

  protected override endOf(segment: Segment): number {
    if (segment !== this.#active) return super.endOf(segment);
    return this.#open.count > 0 ? this.#open.position : this.#nextPosition;
  }

  protected override release(segment: Segment): void {
    this.#store.release(segment);
    this.#full = false;
  }

  protected override noteHole(hole: Hole): void {
    this.counters.lostBytes += hole.bytes;
    this.#options.onHole?.(hole);
  }

  /**
   * The kernel says once that it could not write, and has dropped what it had: a second fdatasync
   * would succeed and prove nothing. What is mapped can still be read and sent; records go elsewhere.
   */
  #giveUp(segment: Segment, error: Error): void {
    segment.refused = true;
    segment.retired = true;
    // A page that was dropped may be read from the disk again, as it was before.
    segment.recoveredEnd = segment.bytes;
    this.counters.refusedSegments++;
    this.#options.onError(`fdatasync ${segment.path}`, error);
    if (segment !== this.#active) return;
    this.seal();
    this.#roll();
  }
}
