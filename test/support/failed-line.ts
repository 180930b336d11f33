// A partition's line whose batches all came back with the same verdict, on a journal of its own, with a
// broker that is a few fields: what Remedy gets to see, without timers and connections.

import { expect } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JournalledBatch } from '../../src/journal/cursor.ts';
import { Journal } from '../../src/journal/journal.ts';
import { type DeviationReport, Deviations } from '../../src/kafka/deviations.ts';
import type { Verdict } from '../../src/kafka/errors.ts';
import { PartitionQueue, type Shipment } from '../../src/kafka/partition-queue.ts';
import type { ProducerState } from '../../src/kafka/protocol.ts';
import { Quarantine } from '../../src/kafka/quarantine.ts';
import { Remedy } from '../../src/kafka/remedy.ts';
import { crcMatches, readBatchHeader, readRecords } from '../../src/record-batch.ts';
import { tempDir } from './temp-dir.ts';

export const PRODUCER = { producerId: 7n, producerEpoch: 3 };

/** A line of placed batches that all came back with `verdict`. */
export class FailedLine implements AsyncDisposable {
  readonly counters = { alreadyDelivered: 0, oversize: 0 };
  readonly reports: Omit<DeviationReport, 'batch'>[] = [];
  readonly deviations = new Deviations(({ deviation, cause, detail }) => {
    this.reports.push({ deviation, cause, detail });
  });
  readonly finished: Shipment[] = [];
  queue = new PartitionQueue(0, PRODUCER);
  readonly batches: JournalledBatch[] = [];
  readonly journal: Journal;
  readonly remedy: Remedy;
  /** What DescribeProducers says. */
  states: readonly ProducerState[] | undefined = [];
  newIds = 0;
  readonly #dir = tempDir();

  constructor(
    counts: readonly number[],
    verdict: Verdict,
    { baseSequence = 0, timestamp = Date.now(), quarantineBytes = 2 ** 20 } = {},
  ) {
    this.journal = new Journal({
      directory: this.#dir.path,
      journalBytes: 2 ** 20,
      batchBytes: 16_384,
      syncMs: 60_000,
      recycleOldest: false,
      onError: () => {},
    });
    const inquiries = {
      describeProducers: async () => this.states,
      newProducerId: async () => ({ producerId: BigInt(100 + this.newIds++), producerEpoch: 0 }),
    };
    this.remedy = new Remedy({
      journal: this.journal,
      inquiries,
      counters: this.counters,
      deviations: this.deviations,
      quarantine: new Quarantine(this.#quarantineDir, quarantineBytes),
      finish: (shipment) => {
        this.finished.push(shipment);
        shipment.parts.left--;
      },
    });
    this.queue.leader = 0;
    this.queue.stamp = { ...PRODUCER, baseSequence };
    let number = 0;
    for (const count of counts) {
      for (let left = count; left > 0; left--) this.journal.append(`${number++}`, timestamp);
      this.journal.seal();
      const batch = this.journal.take()!;
      const stamp = this.queue.nextStamp(count);
      this.journal.place(batch, { ...stamp, partition: 0 });
      this.batches.push(batch);
      const unsure = verdict.persistence === 'unknown';
      Object.assign(this.queue.enqueue(batch, stamp), { verdict, unsure });
    }
  }

  /** The next process takes up what the journal says. */
  restart(): void {
    this.queue = new PartitionQueue(0, { producerId: 9n, producerEpoch: 0 });
    this.queue.leader = 0;
    for (const batch of this.batches) this.remedy.takeUp(this.queue, batch, batch.placement!);
  }

  /** Values of the batches that were put aside. */
  get quarantined(): string[][] {
    return readdirSync(this.#quarantineDir)
      .toSorted()
      .map((name) => readFileSync(join(this.#quarantineDir, name)))
      .map((batch) => [...readRecords(batch, 61, batch.length)].map(({ value }) => text(value)));
  }

  get #quarantineDir(): string {
    return join(this.#dir.path, 'quarantine');
  }

  get possiblyDuplicated(): number {
    return this.deviations.total('may be twice');
  }

  /** The broker's last sequence of PRODUCER. */
  set last(lastSequence: number) {
    this.states = [
      { producerId: 6n, producerEpoch: 0, lastSequence: 9999 },
      { ...PRODUCER, lastSequence },
    ];
  }

  /** What would be sent now: first sequence, and the values. */
  get line(): [baseSequence: number, ...values: string[]][] {
    return this.queue.waiting.map((shipment) => {
      const bytes = shipment.cut ?? this.journal.bytesOf(shipment.batch);
      const header = readBatchHeader(bytes, 0);
      expect(crcMatches(bytes, 0, header)).toBe(true);
      const { baseSequence, producerId, producerEpoch } = shipment.stamp;
      expect(header).toMatchObject({ baseSequence, producerId, producerEpoch });
      const values = [...readRecords(bytes, 61, header.bytes)].map(({ value }) => text(value));
      expect(values.length).toBe(shipment.recordCount);
      return [baseSequence, ...values];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.journal.close();
    this.#dir[Symbol.dispose]();
  }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}
