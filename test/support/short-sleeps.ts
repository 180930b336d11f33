// Back-off is seconds, a test is not: `using sleeps = shortSleeps()` makes every pause of src/ a few
// milliseconds and notes how long it was meant to be. And a clock that can be put forward: kafkajs
// finds a request too old by Date.now().

import { setSystemTime, spyOn } from 'bun:test';

const SHORT_MS = 2;

export interface Sleeps extends Disposable {
  /** Milliseconds asked for, in order, the pauses of waitFor (25 ms) left out. */
  readonly asked: readonly number[];
}

export function shortSleeps(): Sleeps {
  const sleep = Bun.sleep;
  const asked: number[] = [];
  const spy = spyOn(Bun, 'sleep').mockImplementation((time) => {
    const ms = Number(time);
    if (ms !== 25) asked.push(ms);
    return sleep(Math.min(ms, SHORT_MS));
  });
  return { asked, [Symbol.dispose]: () => spy.mockRestore() };
}

/** Date.now() is `ms` later until the scope ends; timers go on as they are. */
export function laterClock(ms: number): Disposable {
  setSystemTime(new Date(Date.now() + ms));
  return { [Symbol.dispose]: () => void setSystemTime() };
}
