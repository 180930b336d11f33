// A journal and a producer on their way to a FakeCluster, wired as in src/server.ts, with numbered
// records: what arrived can be compared with what was appended, number by number. The journal is
// the smallest that is allowed, in a directory of the caller's (a second Shipping on it is a restart).

import { expect } from 'bun:test';
import { join } from 'node:path';
import { Journal } from '../../src/journal/journal.ts';
import { Cluster } from '../../src/kafka/cluster.ts';
import { type DeviationReport, Deviations } from '../../src/kafka/deviations.ts';
import { Producer } from '../../src/kafka/producer.ts';
import { Quarantine } from '../../src/kafka/quarantine.ts';
import { Topic } from '../../src/kafka/topic.ts';
import { BATCH_HEADER_BYTES, type Compression, readRecords } from '../../src/record-batch.ts';
import type { FakeCluster } from './fake-broker.ts';

const DRAIN_MAX_MS = 10_000;

export interface ShippingOptions {
  readonly acks?: 'all' | '1';
  readonly compression?: Compression;
  readonly batchBytes?: number;
  readonly quarantineBytes?: number;
  /** Number of the first record. */
  readonly from?: number;
  /** By default an error of the journal fails the test. */
  readonly onError?: (action: string, error: Error) => void;
}

/** A DeviationReport with the numbers of its records. */
export interface Deviated extends Pick<DeviationReport, 'deviation' | 'cause'> {
  readonly numbers: readonly number[];
}

export class Shipping implements AsyncDisposable {
  readonly journal: Journal;
  readonly cluster: Cluster;
  readonly topic: Topic;
  readonly producer: Producer;
  /** What was reported: undefined = Kafka takes records. */
  readonly changes: (string | undefined)[] = [];
  readonly warnings: string[] = [];
  /** What did not go the way of all records. */
  readonly deviations: Deviated[] = [];
  readonly #fake: FakeCluster;
  #next: number;
  #disposed = false;

  constructor(fake: FakeCluster, directory: string, options: ShippingOptions = {}) {
    const { acks = 'all', compression = 'none', batchBytes = 4096, from = 1 } = options;
    const { quarantineBytes = 2 ** 20, onError = failOn } = options;
    this.#fake = fake;
    this.#next = from;
    this.journal = new Journal({
      directory,
      journalBytes: 8 * 2 ** 20,
      batchBytes,
      syncMs: 1000,
      recycleOldest: false,
      onError,
    });
    const onWarning = (message: string): void => void this.warnings.push(message);
    this.cluster = new Cluster(fake.brokers, 'hoplog-test');
    this.topic = new Topic(this.cluster, { name: fake.topic, acks, onWarning });
    this.producer = new Producer(this.journal, this.topic, {
      compression,
      quarantine: new Quarantine(join(directory, 'quarantine'), quarantineBytes),
      deviations: new Deviations(({ deviation, cause, batch }) => {
        const records = [...readRecords(batch, BATCH_HEADER_BYTES, batch.length)];
        const numbers = records.map(({ value }) => Number(Buffer.from(value).toString()));
        this.deviations.push({ deviation, cause, numbers });
      }),
      onWarning,
      onChange: (trouble) => void this.changes.push(trouble),
    });
  }

  /** Records appended so far (or, after a restart, before it too). */
  get appended(): number {
    return this.#next - 1;
  }

  /** Appends `count` numbered records, `bytes` long each at least. */
  append(count = 1, bytes = 0): void {
    for (let left = count; left > 0; left--) {
      const value = `${this.#next++}`.padEnd(bytes, ' ');
      if (this.journal.append(value, Date.now()) !== 'appended') throw new Error('journal is full');
    }
  }

  /** The same as one batch, sealed. */
  batch(count = 1, bytes = 0): void {
    this.append(count, bytes);
    this.journal.seal();
  }

  batches(batches: number, records = 1, bytes = 0): void {
    for (let left = batches; left > 0; left--) this.batch(records, bytes);
  }

  /** Until Kafka has all; the expectation of nearly every test. */
  async deliverAll(): Promise<void> {
    expect(await this.producer.drain(DRAIN_MAX_MS)).toBe(true);
    this.expectExactlyOnce();
    expect(this.journal.backlogBytes).toBe(0);
  }

  /** Nothing missing, nothing twice, nothing invented; in order within each partition. */
  expectExactlyOnce(): void {
    const numbers = this.#fake.values.map(Number);
    expect(numbers.toSorted((a, b) => a - b)).toEqual(numbersTo(this.appended));
    for (const { values } of this.#fake.partitions) {
      expect(values.map(Number)).toEqual(values.map(Number).toSorted((a, b) => a - b));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.producer.stop();
    await this.topic.close();
    await this.journal.close();
  }
}

function failOn(action: string, error: Error): never {
  throw new Error(action, { cause: error });
}

/** A Shipping that has delivered a record to each partition: the brokers know its producer. */
export async function settled(
  fake: FakeCluster,
  directory: string,
  options: ShippingOptions = {},
): Promise<Shipping> {
  const shipping = new Shipping(fake, directory, options);
  await shipping.producer.start();
  shipping.batches(fake.partitions.length);
  await shipping.deliverAll();
  return shipping;
}

export function numbersTo(last: number): number[] {
  return Array.from({ length: last }, (_, index) => index + 1);
}
