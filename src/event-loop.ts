// How late a timer comes: whatever holds the event loop holds every request meanwhile. A timer of its own
// ten times a second, which sees what lasts longer than a tenth of a second for certain, and shorter
// ones by chance. Counts since the start, so that several readers and several processes can be added up,
// which perf_hooks' monitorEventLoopDelay cannot.

import { Histogram } from './histogram.ts';

const SAMPLE_MS = 100;
const DELAY_SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

export class EventLoopDelay implements Disposable {
  readonly seconds = new Histogram(DELAY_SECONDS);
  readonly #timer: Timer;
  #due = performance.now() + SAMPLE_MS;

  constructor() {
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
    this.#timer.unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    const now = performance.now();
    this.seconds.observe(Math.max(0, now - this.#due) / 1000);
    this.#due = now + SAMPLE_MS;
  }
}
