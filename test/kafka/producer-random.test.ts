// The producer against a broker whose faults come at random, over several lives: no record may be
// missing, none may come twice that was not counted as possibly there, none out of order. What breaks
// it is shrunk to the few steps that matter, and HOPLOG_SEED replays it.

import { expect, test } from 'bun:test';
import * as fc from 'fast-check';
import type { Compression } from '../../src/record-batch.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE, type Fault, refused } from '../support/fake-partition.ts';
import { runs } from '../support/properties.ts';
import { numbersTo, Shipping } from '../support/shipping.ts';
import { shortSleeps } from '../support/short-sleeps.ts';
import { tempDir } from '../support/temp-dir.ts';

const PARTITIONS = 2;
const DRAIN_MAX_MS = 1000;

const FAULTS: readonly Fault[] = [
  { kind: 'none' },
  refused(CODE.NOT_LEADER_OR_FOLLOWER),
  refused(CODE.NOT_ENOUGH_REPLICAS),
  refused(CODE.REQUEST_TIMED_OUT),
  refused(CODE.KAFKA_STORAGE_ERROR),
  refused(CODE.OUT_OF_ORDER_SEQUENCE_NUMBER),
  refused(CODE.INVALID_PRODUCER_EPOCH),
  refused(CODE.UNKNOWN_PRODUCER_ID),
  { kind: 'appended, refused', code: CODE.REQUEST_TIMED_OUT },
  { kind: 'appended, refused', code: CODE.NOT_ENOUGH_REPLICAS_AFTER_APPEND },
  { kind: 'appended, refused', code: CODE.DUPLICATE_SEQUENCE_NUMBER },
  { kind: 'cut' },
  { kind: 'appended, cut' },
  { kind: 'appended, half an answer' },
];

const partition = fc.nat({ max: PARTITIONS - 1 });
const steps = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        batches: fc.integer({ min: 1, max: 4 }),
        records: fc.integer({ min: 1, max: 6 }),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({ fault: fc.constantFrom(...FAULTS), at: partition }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ bytesMax: fc.constantFrom(200, Infinity), at: partition }),
    },
    { weight: 1, arbitrary: fc.record({ leader: fc.integer({ min: -1, max: 1 }), at: partition }) },
    { weight: 1, arbitrary: fc.record({ hold: fc.nat({ max: 3 }) }) },
    { weight: 1, arbitrary: fc.constant({ release: true }) },
    { weight: 2, arbitrary: fc.constant({ pause: true }) },
    { weight: 1, arbitrary: fc.record({ restart: fc.nat({ max: 5 }) }) },
  ),
  { minLength: 5, maxLength: 40, size: 'max' },
);

type Step = typeof steps extends fc.Arbitrary<(infer Item)[]> ? Item : never;

/** One course of events; `shipping` is what lives at the moment. */
class Course implements AsyncDisposable {
  readonly #fake: FakeCluster;
  readonly #path: string;
  readonly #compression: Compression;
  shipping: Shipping;
  possiblyDuplicated = 0;

  constructor(fake: FakeCluster, path: string, compression: Compression) {
    this.#fake = fake;
    this.#path = path;
    this.#compression = compression;
    this.shipping = new Shipping(fake, path, { compression });
  }

  async begin(): Promise<void> {
    void this.shipping.producer.start();
    await this.roundTrips(3);
  }

  async take(step: Step): Promise<void> {
    if ('batches' in step) this.shipping.batches(step.batches, step.records, 50);
    else if ('fault' in step) this.#fake.script(step.at, step.fault);
    else if ('bytesMax' in step) this.#fake.partitions[step.at]!.batchBytesMax = step.bytesMax;
    else if ('leader' in step) this.#fake.partitions[step.at]!.leader = step.leader;
    else if ('hold' in step) this.#fake.holdAfter = step.hold;
    else if ('release' in step) this.#fake.release();
    else if ('restart' in step) await this.#restart(step.restart);
    else await this.roundTrips(4);
  }

  /** So that what is under way meets its fate, or at least the next piece of it. */
  async roundTrips(count: number): Promise<void> {
    for (let left = count; left > 0; left--) {
      await this.shipping.cluster.metadata(this.#fake.topic).catch(() => undefined);
    }
  }

  /** Ends with requests in flight, of which `processed` still reach the log. */
  async #restart(processed: number): Promise<void> {
    const { appended } = this.shipping;
    await this.end();
    this.#fake.process(processed);
    this.#fake.drop();
    const compression = this.#compression;
    this.shipping = new Shipping(this.#fake, this.#path, { from: appended + 1, compression });
    await this.begin();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shipping[Symbol.asyncDispose]();
  }

  async end(): Promise<void> {
    await this[Symbol.asyncDispose]();
    this.possiblyDuplicated += this.shipping.producer.counters.possiblyDuplicated;
  }
}

/** Everything is well again, and all is delivered. */
async function recover(fake: FakeCluster, course: Course): Promise<void> {
  for (const one of fake.partitions) {
    one.faults.length = 0;
    one.leader = 0;
    one.batchBytesMax = Infinity;
  }
  fake.release();
  expect(await course.shipping.producer.drain(DRAIN_MAX_MS)).toBe(true);
  expect(course.shipping.journal.backlogBytes).toBe(0);
  await course.end();
}

test('whatever the broker does, every record arrives, in order, and twice only if counted', async () => {
  using _ = shortSleeps();
  await fc.assert(
    fc.asyncProperty(steps, fc.constantFrom('none', 'zstd'), async (moves, compression) => {
      using dir = tempDir();
      await using fake = await FakeCluster.start({ partitions: PARTITIONS, nodes: 2 });
      await using course = new Course(fake, dir.path, compression);
      await course.begin();
      for (const move of moves) await course.take(move);
      await recover(fake, course);
      const numbers = fake.values.map(Number);
      const distinct = [...new Set(numbers)].toSorted((a, b) => a - b);
      expect(distinct).toEqual(numbersTo(course.shipping.appended));
      expect(numbers.length - distinct.length).toBeLessThanOrEqual(course.possiblyDuplicated);
      for (const { values } of fake.partitions) {
        const firsts = [...new Set(values.map(Number))];
        expect(firsts).toEqual(firsts.toSorted((a, b) => a - b));
      }
    }),
    runs(60),
  );
}, 240_000);
