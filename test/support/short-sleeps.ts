// Back-off is seconds, a test is not: `using sleeps = shortSleeps()` makes every pause of src/ a few
// milliseconds and notes how long it was meant to be. And the two clocks that can be moved: the wall's
// (Date.now), which a human may put wherever, and the one that time-outs go by (performance.now).

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

/** Date.now() is `ms` later (or earlier) until the scope ends; everything else goes on as it is. */
export function laterClock(ms: number): Disposable {
  setSystemTime(new Date(Date.now() + ms));
  return { [Symbol.dispose]: () => void setSystemTime() };
}

/** performance.now() is `ms` later until the scope ends; Date.now() and timers go on as they are. */
export function timePasses(ms: number): Disposable {
  const now = performance.now.bind(performance);
  const spy = spyOn(performance, 'now').mockImplementation(() => now() + ms);
  return { [Symbol.dispose]: () => spy.mockRestore() };
}
