// What holds the event loop is seen in the histogram, by as much as it was held; and the timer that sees
// it ends with its scope.

import { expect, test } from 'bun:test';
import { EventLoopDelay } from '../../src/event-loop.ts';
import { waitFor } from '../support/wait-for.ts';

const HELD_MS = 400;
/** A sample is due every 100 ms: so much of the time may pass before the first one is late. */
const SEEN_SECONDS_MIN = (HELD_MS - 100) / 1000 - 0.01;

function hold(ms: number): void {
  const since = performance.now();
  while (performance.now() - since < ms);
}

function countOf({ seconds }: EventLoopDelay): number {
  return seconds.counts.reduce((sum, count) => sum + count, 0);
}

test('an event loop that was held is late by so much, once', async () => {
  using delay = new EventLoopDelay();
  await waitFor(() => countOf(delay) >= 2, { timeoutMs: 5_000, what: 'samples' });
  const before = delay.seconds.sum;
  const samples = countOf(delay);
  hold(HELD_MS);
  await waitFor(() => countOf(delay) > samples, { timeoutMs: 5_000, what: 'a late sample' });
  expect(delay.seconds.sum - before).toBeGreaterThan(SEEN_SECONDS_MIN);
  expect(countOf(delay) - samples).toBeLessThan(3);
});

test('its scope over, nothing is sampled any more', async () => {
  const delay = new EventLoopDelay();
  delay[Symbol.dispose]();
  using other = new EventLoopDelay();
  await waitFor(() => countOf(other) >= 3, { timeoutMs: 5_000, what: 'samples of another' });
  expect(countOf(delay)).toBe(0);
});
