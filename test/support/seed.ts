// Random numbers that can be had again: a test that draws its faults from here names its seed when
// it fails, and HOPLOG_SEED=… replays it (the faults, not the scheduling of the processes).

/** Numbers from 0 up to but without 1, always the same ones for a seed (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `from` to `to`, both included. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  pick<Item>(items: readonly [Item, ...Item[]]): Item {
    return items[this.integer(0, items.length - 1)] ?? items[0];
  }
}

/** Runs `test` with a fresh seed, or with HOPLOG_SEED; says which when it fails. */
export async function seeded(test: (random: Random) => Promise<void>): Promise<void> {
  const given = process.env['HOPLOG_SEED'];
  const seed = given === undefined ? crypto.getRandomValues(new Uint32Array(1))[0]! : Number(given);
  try {
    await test(new Random(seed));
  } catch (error) {
    process.stderr.write(`HOPLOG_SEED=${seed} replays the failure below\n`);
    throw error;
  }
}
