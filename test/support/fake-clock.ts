// Time that passes only when a test says so: `using clock = fakeClock()` puts setTimeout, Bun.sleep,
// performance.now and Date.now under it until the scope ends, and takes the jitter out of back-offs. An
// hour is as long as what happens in it. Real input and output goes on by itself: `idle` waits for it.

import { spyOn } from 'bun:test';

/** Date.now() at the beginning. */
const EPOCH_MS = Date.UTC(2026, 10, 25);

interface Alarm {
  readonly at: number;
  readonly ring: () => void;
}

export class FakeClock implements Disposable {
  /** Milliseconds since the clock was made. */
  now = 0;
  /** By its handle; handles only grow, so alarms of one time ring in the order they were set. */
  readonly #alarms = new Map<number, Alarm>();
  readonly #restore: readonly (() => void)[];
  #handles = 0;

  constructor() {
    const { setTimeout, clearTimeout } = globalThis;
    const set = (ring: () => void, ms = 0): number => this.#set(ring, ms);
    const clear = (handle?: number): void => void this.#alarms.delete(handle ?? 0);
    Object.assign(globalThis, { setTimeout: set, clearTimeout: clear });
    const spies = [
      spyOn(Bun, 'sleep').mockImplementation(
        (ms) => new Promise((resolve) => void this.#set(resolve, Number(ms))),
      ),
      spyOn(performance, 'now').mockImplementation(() => this.now),
      spyOn(Date, 'now').mockImplementation(() => EPOCH_MS + this.now),
      spyOn(Math, 'random').mockReturnValue(0.5),
    ];
    this.#restore = [
      () => Object.assign(globalThis, { setTimeout, clearTimeout }),
      ...spies.map((spy) => () => spy.mockRestore()),
    ];
  }

  /** Lets `ms` pass: what is due rings in its order, and `settle` follows on each. */
  async advance(ms: number, settle: () => Promise<void>): Promise<void> {
    const end = this.now + ms;
    for (let due = this.#next(end); due; due = this.#next(end)) {
      const [handle, alarm] = due;
      this.#alarms.delete(handle);
      this.now = Math.max(this.now, alarm.at);
      alarm.ring();
      await settle();
    }
    this.now = end;
  }

  /** The process that set them has ended. */
  forgetAlarms(): void {
    this.#alarms.clear();
  }

  [Symbol.dispose](): void {
    for (const restore of this.#restore) restore();
  }

  #set(ring: () => void, ms: number): number {
    const handle = ++this.#handles;
    this.#alarms.set(handle, { at: this.now + Math.max(0, ms), ring });
    return handle;
  }

  #next(end: number): [number, Alarm] | undefined {
    let next: [number, Alarm] | undefined;
    for (const entry of this.#alarms) {
      if (entry[1].at <= end && (!next || entry[1].at < next[1].at)) next = entry;
    }
    return next;
  }
}

/** Lets all that is ready happen, and then waits, in real time, until `isQuiet`. */
export async function idle(isQuiet: () => boolean): Promise<void> {
  for (let turn = 0; turn < 2 || !isQuiet(); turn++) {
    if (turn > TURNS_MAX) throw new Error('what was begun in the background does not end');
    await nextTurn();
  }
}

const TURNS_MAX = 1_000_000;

function nextTurn(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(resolve);
  return promise;
}
