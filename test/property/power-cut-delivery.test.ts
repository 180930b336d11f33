// The whole way of a record through power cuts: appended, sealed, placed, sent, acknowledged, with the
// power failing at any of these moments, up to three times in a row, and any choice of what the disk came
// to hold. Kafka keeps what it was sent. Nothing arrives twice, invented or out of order, all that was
// synced arrives, and so does all that is appended afterwards.

import { expect, setDefaultTimeout, test } from 'bun:test';
import * as fc from 'fast-check';
import type { Compression } from '../../src/record-batch.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { DiskHistory, SimulatedDisk, turns } from '../support/power-cut.ts';
import { PROPERTY_MAX_MS, runs } from '../support/properties.ts';
import { Random } from '../support/seed.ts';
import { Shipping } from '../support/shipping.ts';
import { shortSleeps } from '../support/short-sleeps.ts';
import { tempDir } from '../support/temp-dir.ts';

setDefaultTimeout(PROPERTY_MAX_MS);

const DRAIN_MAX_MS = 10_000;

type Step =
  | {
      readonly do: 'batches';
      readonly batches: number;
      readonly records: number;
      readonly bytes: number;
    }
  | { readonly do: 'open batch'; readonly records: number }
  | { readonly do: 'turns'; readonly count: number }
  | { readonly do: 'hold' | 'release' }
  | { readonly do: 'process'; readonly count: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('batches' as const),
      batches: fc.integer({ min: 1, max: 7 }),
      records: fc.integer({ min: 1, max: 5 }),
      bytes: fc.integer({ min: 0, max: 700 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('open batch' as const),
      records: fc.integer({ min: 1, max: 5 }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('turns' as const),
      count: fc.integer({ min: 1, max: 25 }),
    }),
  },
  { weight: 1, arbitrary: fc.constantFrom({ do: 'hold' as const }, { do: 'release' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('process' as const),
      count: fc.integer({ min: 1, max: 4 }),
    }),
  },
);

interface Life {
  readonly steps: readonly Step[];
  readonly compression: Compression;
  /** Of the requests that wait at the broker when the power fails. */
  readonly stillProcessed: number;
}

const life: fc.Arbitrary<Life> = fc.record({
  steps: fc.array(step, { minLength: 1, maxLength: 20 }),
  compression: fc.constantFrom('none', 'none', 'zstd'),
  stillProcessed: fc.nat(5),
});

class PowerCuts {
  appended = 0;
  /** Records that must arrive: on the disk before a cut, or appended in the last life. */
  readonly #synced = new Set<number>();
  readonly #fake: FakeCluster;
  readonly #choose: (count: number) => number;
  readonly #zeros: boolean;

  constructor(fake: FakeCluster, choose: (count: number) => number, zeros: boolean) {
    this.#fake = fake;
    this.#choose = choose;
    this.#zeros = zeros;
  }

  /** Works in `directory` until the power fails; what is left of it then is in `target`. */
  async live(
    { steps, compression, stillProcessed }: Life,
    directory: string,
    target: string,
    blockBytes: number,
  ): Promise<void> {
    const history = new DiskHistory(directory, blockBytes);
    using _ = new SimulatedDisk(history, () => this.#choose(12));
    await using shipping = this.#open(directory, compression);
    const syncs = new CompletedSyncs(shipping, this.appended);
    watch(shipping, history);
    await shipping.producer.start();
    for (const next of steps) {
      await this.#run(next, shipping);
      history.note();
      syncs.note(shipping.appended);
    }
    shipping.producer.stop(); // no power: nothing is sent any more
    history.cut(target, this.#choose, this.#zeros);
    for (const number of syncs.synced) this.#synced.add(number);
    this.appended = shipping.appended;
    this.#fake.process(Math.min(stillProcessed, this.#fake.held));
    this.#fake.drop();
  }

  /** The last life: all that is left arrives, and what is appended in it. */
  async deliver(directory: string): Promise<void> {
    await using shipping = this.#open(directory, 'none');
    const before = this.appended;
    await shipping.producer.start();
    shipping.batches(3, 2);
    expect(await shipping.producer.drain(DRAIN_MAX_MS)).toBe(true);
    this.appended = shipping.appended;
    for (let number = before + 1; number <= this.appended; number++) this.#synced.add(number);
  }

  judge(): void {
    const delivered = this.#fake.values.map(Number);
    const twice = delivered.filter((number, index) => delivered.indexOf(number) !== index);
    expect(twice).toEqual([]);
    expect(delivered.filter((number) => !(number >= 1 && number <= this.appended))).toEqual([]);
    for (const { values } of this.#fake.partitions) {
      const numbers = values.map(Number);
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    }
    // A block that was being written may be lost with what was on it before.
    if (this.#zeros) return;
    expect([...this.#synced].filter((number) => !delivered.includes(number))).toEqual([]);
  }

  #open(directory: string, compression: Compression): Shipping {
    const from = this.appended + 1;
    // A file of which the disk has not the first page is put aside, and that is told.
    return new Shipping(this.#fake, directory, { from, compression, onError: () => {} });
  }

  async #run(next: Step, shipping: Shipping): Promise<void> {
    switch (next.do) {
      case 'batches':
        shipping.batches(next.batches, next.records, next.bytes);
        break;
      case 'open batch':
        shipping.append(next.records);
        break;
      case 'turns':
        await turns(next.count);
        break;
      case 'hold':
        this.#fake.hold();
        break;
      case 'release':
        this.#fake.release();
        break;
      case 'process':
        this.#fake.process(next.count);
    }
  }
}

/** Which records were on the disk when the power failed: appended before a round that has ended began. */
class CompletedSyncs {
  readonly #shipping: Shipping;
  readonly #before: number;
  readonly #notes: { appended: number; round: number }[] = [];

  constructor(shipping: Shipping, before: number) {
    this.#shipping = shipping;
    this.#before = before;
  }

  note(appended: number): void {
    // The next round to end may have begun already.
    this.#notes.push({ appended, round: this.#shipping.journal.syncs.rounds + 2 });
  }

  get synced(): number[] {
    const { rounds } = this.#shipping.journal.syncs;
    const last = this.#notes.findLast(({ round }) => round <= rounds)?.appended ?? this.#before;
    return Array.from({ length: last - this.#before }, (_, index) => this.#before + 1 + index);
  }
}

/** The disk may catch a batch right before its placement, and before its acknowledgement. */
function watch({ journal }: Shipping, history: DiskHistory): void {
  const place = journal.place.bind(journal);
  const acknowledge = journal.acknowledge.bind(journal);
  journal.place = (batch, placement) => {
    history.note();
    place(batch, placement);
  };
  journal.acknowledge = (batch) => {
    history.note();
    acknowledge(batch);
  };
}

test.each([
  ['any block of 4096 bytes as it was at or after its last sync', 4096, false],
  ['any sector of 512 bytes as it was at or after its last sync', 512, false],
  ['any block as it was, or zeros where it was being written', 4096, true],
])(
  'fault 63: nothing twice, nothing lost that was synced: %s',
  async (_name, blockBytes, zeros) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(life, { minLength: 1, maxLength: 3 }),
        fc.integer(),
        async (lives, seed) => {
          const random = new Random(seed);
          using _sleeps = shortSleeps();
          using dirs = new DisposableStack();
          await using fake = await FakeCluster.start({ partitions: 2 });
          const choose = (count: number): number => {
            // The oldest and the newest content are the likely ones.
            const any = random.integer(0, count - 1);
            return random.pick([0, any, count - 1, count - 1]);
          };
          const run = new PowerCuts(fake, choose, zeros);
          let directory = dirs.use(tempDir()).path;
          for (const one of lives) {
            const left = dirs.use(tempDir()).path;
            await run.live(one, directory, left, blockBytes);
            directory = left;
          }
          await run.deliver(directory);
          run.judge();
        },
      ),
      runs(15),
    );
  },
);
