// Fault 81: thousands of segments. What a start does with each is the same however large it is, and what
// the journal does with a batch is the same however many segments there are: a start and a drain of
// ten times as many take ten times as long, give or take what a busy machine does to a measurement.

import { expect, test } from 'bun:test';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { extent } from '../support/extent.ts';
import { changeFirst, killedWith, openJournal, takeValues } from '../support/journals.ts';
import { batchesOf, bytesOf, memorySegment, reopened, Scribe } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';

const TEST_MAX_MS = 120_000;
const SEGMENT_BYTES = 8192;
const MANY = extent(1_000, 10_000);
const TIMES = 10;
/** A quadratic step would make it TIMES. */
const SLOWER_MAX = 4;
/** Few take milliseconds: the machine may look away for longer. */
const STALL_MS = 500;

/** Closed segments of one batch each. */
function writeSegments(directory: string, count: number): void {
  mkdirSync(directory);
  for (let number = 1; number <= count; number++) {
    const segment = memorySegment(SEGMENT_BYTES, number);
    const scribe = new Scribe(segment).write(`${number}`).seal();
    segment.closed = scribe.next;
    const path = join(directory, `${String(number).padStart(8, '0')}.segment`);
    writeFileSync(path, bytesOf(segment));
  }
}

interface Times {
  readonly openMs: number;
  readonly drainMs: number;
}

async function drained(directory: string, count: number): Promise<Times> {
  const started = performance.now();
  await using open = openJournal(directory, { journalBytes: 2 ** 30 });
  const { journal } = open;
  const openMs = performance.now() - started;
  let next = 1;
  for (let batch = journal.take(); batch; batch = journal.take()) {
    expect(Buffer.from(journal.bytesOf(batch)).includes(`${next}`)).toBe(true);
    // As the producer asks, and a scrape now and then.
    expect(journal.hasUntaken).toBe(true);
    if (next % 100 === 0) expect(journal.backlogBytes).toBeGreaterThan(0);
    journal.acknowledge(batch);
    next++;
  }
  expect(next).toBe(count + 1);
  return { openMs, drainMs: performance.now() - started - openMs };
}

test(
  `fault 81: ${MANY} segments are opened and drained in order, each in the time that one of few takes`,
  async () => {
    const few: Times[] = [];
    for (let round = 0; round < 3; round++) {
      using dir = tempDir();
      const directory = join(dir.path, 'few');
      writeSegments(directory, MANY / TIMES);
      few.push(await drained(directory, MANY / TIMES));
    }
    using dir = tempDir();
    const directory = join(dir.path, 'many');
    writeSegments(directory, MANY);
    const many = await drained(directory, MANY);
    const fewOpenMs = Math.max(...few.map(({ openMs }) => openMs));
    const fewDrainMs = Math.max(...few.map(({ drainMs }) => drainMs));
    process.stderr.write(
      `${MANY} segments opened in ${many.openMs.toFixed()} ms, drained in ${many.drainMs.toFixed()}; ` +
        `${MANY / TIMES} in ${fewOpenMs.toFixed()} and ${fewDrainMs.toFixed()}\n`,
    );
    expect(many.openMs).toBeLessThan(fewOpenMs * TIMES * SLOWER_MAX + STALL_MS);
    expect(many.drainMs).toBeLessThan(fewDrainMs * TIMES * SLOWER_MAX + STALL_MS);
  },
  TEST_MAX_MS,
);

test('fault 81: a start looks into no closed segment, so its time does not depend on their size', async () => {
  using dir = tempDir();
  const values = Array.from({ length: 1000 }, (_, index) => `${index} `.padEnd(200, '.'));
  await killedWith(dir.path, values, 'full batches');
  changeFirst(dir.path, (bytes) => {
    const [first] = batchesOf(reopened(bytes));
    bytes.fill(0x5a, first!.end);
  });
  await using open = openJournal(dir.path);
  // Whoever had looked would have counted the damage.
  expect(open.journal.counters.lostBytes).toBe(0);
  expect(takeValues(open.journal).length).toBeLessThan(1000);
  expect(open.journal.counters.lostBytes).toBeGreaterThan(0);
});
