// Garbage that JSC would leave lying: to it the mapped journal is part of the heap, and it lets as much
// garbage pile up as the heap holds. So it is collected by count, each time as a task of its own.

import { edenGC, fullGC } from 'bun:jsc';

/**
 * Requests. Young objects that pile up fit no cache and must be faulted in: 1.45 × bare without this, 1.31
 * with; every 512 or 2,048: 1.35, 1.33.
 */
const YOUNG_EVERY = 1024;
/**
 * Batches. What was in flight while young objects were collected counts as old from then on, 2 KB a batch:
 * 200 MiB after 90,000 batches of a backlog, and no end in sight; with this 54 to 109 MiB, for 10 ms each.
 */
const ALL_EVERY = 2 ** 14;

/** Hot path. `count`: of the requests so far. */
export function collectAfterRequest(count: number): void {
  if (count % YOUNG_EVERY === 0) setImmediate(edenGC);
}

/** `count`: of the batches so far. */
export function collectAfterBatch(count: number): void {
  if (count % ALL_EVERY === 0) setImmediate(fullGC);
}
