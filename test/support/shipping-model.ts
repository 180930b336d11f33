// Journal, cursor and producer together, next to a naive model of what they promise: a list of all that
// was appended, and what of it may be forgotten, and why. The world around them is in the test's hand:
// brokers (fake-topic.ts), the disk's cache (power-cut.ts), time (fake-clock.ts). What each step must
// leave true is `Real.check`; the steps themselves are in shipping-steps.ts.

import { type Mock, spyOn } from 'bun:test';
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { JournalledBatch } from '../../src/journal/cursor.ts';
import { Journal } from '../../src/journal/journal.ts';
import { Segment } from '../../src/journal/segment.ts';
import { segmentBytesFor } from '../../src/journal/segment-size.ts';
import { SegmentFiles } from '../../src/journal/segment-files.ts';
import { type DeviationReport, Deviations } from '../../src/kafka/deviations.ts';
import { Producer } from '../../src/kafka/producer.ts';
import { Quarantine } from '../../src/kafka/quarantine.ts';
import type { Topic } from '../../src/kafka/topic.ts';
import { BATCH_HEADER_BYTES, readRecords } from '../../src/record-batch.ts';
import { FakeClock, idle } from './fake-clock.ts';
import { Brokers, FakeTopic } from './fake-topic.ts';
import { copyAsKilled, openJournal, takeAll, valuesOf } from './journals.ts';
import { DiskHistory, type SyncBegun } from './power-cut.ts';
import { tempDir, type TempDir } from './temp-dir.ts';

const BLOCK_BYTES = 4096;
const GENERATION_AT = 8;
/** The disk ends an fdatasync after this at the latest: a slower one keeps nobody waiting (syncer.ts). */
const SYNC_MAX_MS = 800;

export interface Sizes {
  readonly journalBytes: number;
  readonly batchBytes: number;
}

/** What was promised: records by their numbers. */
export class Model {
  /** Value by number: appended, so answered. */
  readonly appended: string[] = [];
  /** Acknowledged by the producer: the journal need not have them any more. */
  readonly freed = new Set<number>();
  /** On the disk, by the last fdatasync of their segment that has ended. */
  readonly synced = new Set<number>();
  /** Taken by a power cut, as is allowed: they were not synced. */
  readonly lost = new Set<number>();
  readonly delivered = new Set<number>();
  /** Too large for a broker, by name. */
  readonly givenUp = new Set<number>();
  /** Its partition was torn by a power cut, by name: it may go to another one, behind newer records. */
  readonly displaced = new Set<number>();
  /** How often a record may come again, because it was named as possibly there when it was sent again. */
  readonly mayBeTwice = new Map<number, number>();

  /** What the journal must still have. */
  get kept(): number[] {
    return [...this.appended.keys()].filter((n) => !this.freed.has(n) && !this.lost.has(n));
  }
}

interface PendingSync {
  readonly begun: SyncBegun;
  readonly covered: readonly number[];
  readonly end: () => void;
}

/** What happens to requests that are in flight when their process ends. */
export interface Aftermath {
  /** So many of each partition arrive. */
  readonly arrived: number;
  /** Do the others arrive some day? */
  readonly othersLate: boolean;
}

/** One process after the other, on one disk and with the same brokers. */
export class Real implements AsyncDisposable {
  readonly brokers: Brokers;
  readonly #clock = new FakeClock();
  /** Broken promises; a check reports them. */
  readonly violations: string[] = [];
  journal!: Journal;
  topic!: FakeTopic;
  producer!: Producer;
  readonly #model: Model;
  readonly #sizes: Sizes;
  readonly #segmentBytes: number;
  #dir: TempDir = tempDir('memory');
  #disk: DiskHistory;
  readonly #syncs: PendingSync[] = [];
  /** Does an fdatasync wait for `endSyncs`? */
  #isHeld = true;
  /** Name of its segment, by a record's number. */
  readonly #segmentOf: string[] = [];
  #wasCut = false;
  readonly #readTo: number[];
  /** Highest number by partition. */
  readonly #newest: number[];
  /** Told of each append by the segment that it went to. */
  readonly #marks: Mock<Segment['writeLiveMark']>;
  readonly #spies: readonly { mockRestore(): void }[];

  constructor(model: Model, sizes: Sizes, partitions: number) {
    this.#model = model;
    this.#sizes = sizes;
    this.#segmentBytes = segmentBytesFor(sizes.journalBytes, sizes.batchBytes);
    this.brokers = new Brokers(partitions);
    this.#readTo = this.brokers.partitions.map(() => 0);
    this.#newest = this.brokers.partitions.map(() => -1);
    this.#marks = spyOn(Segment.prototype, 'writeLiveMark');
    this.#spies = [this.#holdSyncs(), this.#noteSyncsNow(), this.#marks];
    this.#disk = new DiskHistory(this.#dir.path, BLOCK_BYTES);
    this.#begin();
  }

  get pendingSyncs(): number {
    return this.#syncs.length;
  }

  /** Lets all happen that can happen without time, brokers or disk. */
  async settle(): Promise<void> {
    await idle(() => this.#isQuiet());
    this.#disk.note();
  }

  async pass(ms: number): Promise<void> {
    await this.#clock.advance(ms, () => idle(() => this.#isQuiet()));
  }

  /** The disk has done what it was asked first. */
  endSyncs(count: number): void {
    for (const sync of this.#syncs.slice(0, count)) this.#endSync(sync);
  }

  append(bytes: number): boolean {
    const { appended } = this.#model;
    const value = `${appended.length} `.padEnd(bytes, '.');
    const result = this.journal.append(value, Date.now());
    if (result === 'appended') {
      const segment = this.#marks.mock.contexts.at(-1) as Segment;
      this.#segmentOf[appended.length] = basename(segment.path);
      this.#marks.mockClear();
      appended.push(value);
    } else if (result !== 'full' || !this.journal.full) this.violations.push(`append: ${result}`);
    return result === 'appended';
  }

  /** SIGKILL, and a new start. */
  async kill(aftermath: Aftermath): Promise<void> {
    await this.#end(aftermath, (target) => copyAsKilled(this.#dir.path, target));
    const found = await this.#recovered();
    for (const number of this.#model.kept) {
      if (!found.has(number)) this.violations.push(`${number} is not there after a kill`);
    }
    this.#disk.moveTo(this.#dir.path);
    this.#begin();
  }

  /** The machine stops; of what was not synced the disk has what `choose` says. */
  async cutPower(aftermath: Aftermath, choose: (versions: number) => number): Promise<void> {
    await this.#end(aftermath, (target) => this.#disk.cut(target, choose, false));
    const found = await this.#recovered();
    const { synced, lost, freed } = this.#model;
    for (const number of this.#model.kept) {
      if (found.has(number)) synced.add(number);
      else if (synced.has(number)) this.violations.push(`${number} was synced and is gone`);
      else lost.add(number);
    }
    for (const number of found) if (freed.has(number)) freed.delete(number);
    this.#wasCut = true;
    this.#disk = new DiskHistory(this.#dir.path, BLOCK_BYTES);
    this.#begin();
  }

  /** Ends as on SIGTERM with no time to drain, and starts again. */
  async restart(aftermath: Aftermath): Promise<void> {
    this.topic.end(aftermath.arrived, aftermath.othersLate);
    this.producer.stop();
    let closed = false;
    void this.journal.close().finally(() => {
      closed = true;
    });
    await idle(() => {
      this.endSyncs(Infinity);
      return closed;
    });
    this.#clock.forgetAlarms();
    this.#begin();
  }

  /** A start would end, whatever is on the disk now, and a second one find the same. */
  async checkRecovery(): Promise<void> {
    using copy = tempDir('memory');
    copyAsKilled(this.#dir.path, copy.path);
    await this.#recoveredIn(copy.path);
  }

  /** What must be true at any time. */
  check(): string[] {
    this.#noteDelivered();
    const { journal } = this;
    const found = [...this.violations.splice(0), ...this.brokers.violations.splice(0)];
    const { kept, appended } = this.#model;
    const bytes = kept.reduce((sum, number) => sum + Buffer.byteLength(appended[number] ?? ''), 0);
    if (journal.backlogBytes < bytes) found.push(`the backlog is less than the ${bytes} kept`);
    const { files, begun } = this.#files();
    if (journal.bytes !== files.length * this.#segmentBytes || !begun) {
      found.push(`usage is ${journal.bytes} bytes with ${files.length} files`);
    }
    if (journal.counters.lostBytes > 0 && !this.#wasCut) found.push('bytes were lost');
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.topic.end(0, false);
    this.producer.stop();
    this.#leave();
    await this.journal.close();
    for (const spy of this.#spies) spy.mockRestore();
    this.#clock[Symbol.dispose]();
    this.#dir[Symbol.dispose]();
  }

  #begin(): void {
    this.#isHeld = true;
    this.journal = new Journal({
      directory: this.#dir.path,
      ...this.#sizes,
      syncMs: 1000,
      recycleOldest: false,
      onError: (action, error) => {
        // A new file of which the disk has the end and not the beginning is put aside.
        const isCutOff = this.#wasCut && error.message.includes('no valid identity');
        if (!isCutOff) this.violations.push(`${action}: ${error.message}`);
      },
    });
    this.#checkAcknowledgements(this.journal);
    this.topic = new FakeTopic(this.brokers);
    this.producer = new Producer(this.journal, this.topic as unknown as Topic, {
      compression: 'none',
      quarantine: new Quarantine(join(this.#dir.path, 'quarantine'), 0),
      deviations: new Deviations((report) => this.#noteDeviation(report)),
      onChange: () => {},
      onWarning: () => {},
    });
    void this.producer.start();
  }

  /** Ends the process; `save` writes what is left of its files into a directory. */
  async #end({ arrived, othersLate }: Aftermath, save: (target: string) => void): Promise<void> {
    this.topic.end(arrived, othersLate);
    const next = tempDir('memory');
    save(next.path);
    using _before = this.#dir;
    const { producer, journal } = this;
    this.#dir = next;
    this.#leave();
    producer.stop();
    await journal.close();
    this.#clock.forgetAlarms();
    this.#noteDelivered();
  }

  /** Nobody waits for the disk any more. */
  #leave(): void {
    this.#isHeld = false;
    for (const { end } of this.#syncs.splice(0)) end();
    this.#clock.forgetAlarms();
  }

  async #recovered(): Promise<Set<number>> {
    using copy = tempDir('memory');
    copyAsKilled(this.#dir.path, copy.path);
    return await this.#recoveredIn(copy.path);
  }

  /** Numbers of the records that a start finds, and a start behind it that was killed at once. */
  async #recoveredIn(directory: string): Promise<Set<number>> {
    using copy = tempDir('memory');
    const found = await this.#read(directory, () => copyAsKilled(directory, copy.path));
    const again = await this.#read(copy.path, () => {});
    if (again.join() !== found.join()) this.violations.push('a second recovery differs');
    return new Set(found);
  }

  async #read(directory: string, meanwhile: () => void): Promise<number[]> {
    await using open = openJournal(directory, this.#sizes);
    const values = takeAll(open.journal).flatMap((batch) => valuesOf(open.journal, batch));
    meanwhile();
    const numbers = values.map((value) => Number.parseInt(value, 10));
    if (numbers.some((number, at) => number <= (numbers[at - 1] ?? -1))) {
      this.violations.push('recovered records are out of order');
    }
    for (const [at, number] of numbers.entries()) {
      if (values[at] !== this.#model.appended[number]) this.violations.push(`invented ${number}`);
    }
    return numbers;
  }

  #noteDelivered(): void {
    const { appended, delivered } = this.#model;
    for (const [index, { records }] of this.brokers.partitions.entries()) {
      for (const { value } of records.slice(this.#readTo[index])) {
        const number = Number.parseInt(value.toString(), 10);
        if (value.toString() !== appended[number]) this.violations.push(`invented ${number}`);
        if (delivered.has(number)) {
          this.#noteAgain(number);
          continue;
        }
        delivered.add(number);
        const before = this.#newest[index] ?? -1;
        // Given up, and tried again after a kill; or sent to another partition than before.
        const mayBeLate = this.#model.givenUp.has(number) || this.#model.displaced.has(number);
        if (number < before && !mayBeLate)
          this.violations.push(`${number} is behind ${before} in ${index}`);
        this.#newest[index] = number;
      }
      this.#readTo[index] = records.length;
    }
  }

  #noteAgain(number: number): void {
    const { mayBeTwice } = this.#model;
    const left = mayBeTwice.get(number) ?? 0;
    if (left === 0) this.violations.push(`${number} is there twice and was not named`);
    mayBeTwice.set(number, left - 1);
  }

  #noteDeviation({ deviation, cause, batch }: DeviationReport): void {
    const isGivenUp = deviation === 'lost' && cause === 'too large for the broker';
    if (deviation !== 'may be twice' && !isGivenUp) this.violations.push(`${deviation}: ${cause}`);
    const { mayBeTwice, givenUp, displaced } = this.#model;
    for (const { value } of readRecords(batch, BATCH_HEADER_BYTES, batch.length)) {
      const number = Number.parseInt(Buffer.from(value).toString(), 10);
      if (cause === 'its sequences torn by a power cut') displaced.add(number);
      if (isGivenUp) givenUp.add(number);
      else mayBeTwice.set(number, (mayBeTwice.get(number) ?? 0) + 1);
    }
  }

  /** The journal frees what Kafka has, and nothing else. */
  #checkAcknowledgements(journal: Journal): void {
    const acknowledge = journal.acknowledge.bind(journal);
    journal.acknowledge = (batch: JournalledBatch) => {
      this.#noteDelivered();
      for (const value of valuesOf(journal, batch)) {
        const number = Number.parseInt(value, 10);
        if (!this.#model.delivered.has(number) && !this.#model.givenUp.has(number))
          this.violations.push(`${number} is freed too early`);
        this.#model.freed.add(number);
      }
      acknowledge(batch);
    };
  }

  /** An fdatasync in the directory of the process that lives takes until `endSyncs`. */
  #holdSyncs() {
    const sync = (segment: Segment): Promise<void> => {
      if (!this.#isOurs(segment) || !this.#isHeld) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      const pending = { ...this.#beginSync(segment), end: resolve };
      this.#syncs.push(pending);
      setTimeout(() => this.#endSync(pending), SYNC_MAX_MS);
      return promise;
    };
    return spyOn(SegmentFiles.prototype, 'sync').mockImplementation(sync);
  }

  #noteSyncsNow() {
    const sync = (segment: Segment): void => {
      if (!this.#isOurs(segment)) return;
      const { begun, covered } = this.#beginSync(segment);
      this.#disk.endSync(begun, 'not its name');
      if (begun.file.isNew) return;
      for (const number of covered) this.#model.synced.add(number);
    };
    return spyOn(SegmentFiles.prototype, 'syncNow').mockImplementation(sync);
  }

  #isOurs({ path }: Segment): boolean {
    return dirname(path) === this.#dir.path;
  }

  #beginSync(segment: Segment): Omit<PendingSync, 'end'> {
    const name = basename(segment.path);
    const covered = this.#model.kept.filter((number) => this.#segmentOf[number] === name);
    return { begun: this.#disk.beginSync(segment.path), covered };
  }

  #endSync(sync: PendingSync): void {
    const index = this.#syncs.indexOf(sync);
    if (index < 0) return;
    this.#syncs.splice(index, 1);
    this.#disk.endSync(sync.begun);
    for (const number of sync.covered) this.#model.synced.add(number);
    sync.end();
  }

  #isQuiet(): boolean {
    const { files, begun } = this.#files();
    return begun && files.length * this.#segmentBytes === this.journal.bytes;
  }

  #files(): { files: readonly string[]; begun: boolean } {
    const names = readdirSync(this.#dir.path);
    const files = names.filter((name) => name.endsWith('.segment'));
    const begun =
      !names.some((name) => name.endsWith('.new')) &&
      files.every((name) => generationOf(join(this.#dir.path, name)) > 0);
    return { files, begun };
  }
}

function generationOf(path: string): number {
  const descriptor = openSync(path, 'r');
  const generation = Buffer.alloc(4);
  readSync(descriptor, generation, 0, 4, GENERATION_AT);
  closeSync(descriptor);
  return generation.readInt32LE(0);
}
