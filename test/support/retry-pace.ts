// Are retries paced as they should be? Judged from the Produce requests that the fault proxy saw: after the
// n-th failure in a row a back-off of 100 ms × 2^n, at most 2 s, of which half is jitter.

import { expect } from 'bun:test';
import type { Passed } from './fault-proxy.ts';

const IN_FLIGHT_MAX = 5;

/** The shortest back-off after so many failures in a row: half of 100 ms, 200 ms, … 2 s. */
function backOffMinMs(failures: number): number {
  return Math.min(2_000, 100 * 2 ** failures) / 2;
}

/** So many requests to a partition fit into the time they took, with a back-off after each round. */
export function requestsMax(requests: readonly Passed[]): number {
  let leftMs = requests.at(-1)!.at - requests[0]!.at;
  let rounds = 1;
  for (; leftMs > 0; rounds++) leftMs -= backOffMinMs(rounds - 1);
  return rounds * IN_FLIGHT_MAX;
}

/** Of requests to a partition: the batch refused first is sent again after longer and longer times. */
export function expectGrowingGaps(requests: readonly Passed[]): void {
  const head = requests[0]!.produce!.baseSequence;
  const times = requests
    .filter(({ produce }) => produce!.baseSequence === head)
    .map(({ at }) => at);
  expect(times.length).toBeGreaterThan(2);
  for (const [failures, at] of times.slice(1).entries()) {
    expect(at - times[failures]!).toBeGreaterThanOrEqual(backOffMinMs(failures) - 1);
  }
}
