// For any work of the journal since its last fdatasync, and any choice of what of it the disk came to
// hold: the next start succeeds, nothing comes out that was not appended, nothing out of order or
// altered, all that was synced and not acknowledged is there, and what is appended next is not lost.

import { expect, setDefaultTimeout, test } from 'bun:test';
import * as fc from 'fast-check';
import type { JournalledBatch } from '../../src/journal/cursor.ts';
import type { Journal } from '../../src/journal/journal.ts';
import {
  acknowledgeAll,
  appendSoon,
  copyAsKilled,
  openJournal,
  type OpenJournal,
  SEGMENT_BYTES,
  settled,
  takeAll,
  valuesOf,
} from '../support/journals.ts';
import { DiskHistory } from '../support/power-cut.ts';
import { PROPERTY_MAX_MS, runs } from '../support/properties.ts';
import { readBatches } from '../support/record-batches.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

setDefaultTimeout(PROPERTY_MAX_MS);

const JOURNAL_BYTES = 5 * SEGMENT_BYTES;
const PLACEMENT = { partition: 1, producerId: 321n, producerEpoch: 0, baseSequence: 0 };

type Step =
  | { readonly do: 'append'; readonly count: number; readonly bytes: number }
  | { readonly do: 'seal' | 'take' | 'place' | 'acknowledge all' }
  | { readonly do: 'acknowledge'; readonly which: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      count: fc.integer({ min: 1, max: 70 }),
      bytes: fc.integer({ min: 0, max: 900 }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ do: 'seal' as const }) },
  { weight: 3, arbitrary: fc.constant({ do: 'take' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'place' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('acknowledge' as const), which: fc.nat(20) }),
  },
  { weight: 2, arbitrary: fc.constant({ do: 'acknowledge all' as const }) },
);

/** A journal at work, and what it was told. */
class Work {
  readonly appended: string[] = [];
  readonly acknowledged = new Set<string>();
  readonly #journal: Journal;
  readonly #taken: JournalledBatch[] = [];

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  run(next: Step): void {
    switch (next.do) {
      case 'append':
        for (let index = 0; index < next.count; index++) this.append(next.bytes);
        break;
      case 'seal':
        this.#journal.seal();
        break;
      case 'take':
        this.#take();
        break;
      case 'place':
        for (const batch of this.#taken)
          if (!batch.placement) this.#journal.place(batch, PLACEMENT);
        break;
      case 'acknowledge':
        this.#acknowledge(next.which);
        break;
      case 'acknowledge all':
        while (this.#take());
        while (this.#taken.length > 0) this.#acknowledge(0);
    }
  }

  append(bytes: number): string {
    const value = `${this.appended.length} `.padEnd(bytes, '.');
    if (this.#journal.append(value, 0) === 'appended') this.appended.push(value);
    return value;
  }

  #take(): boolean {
    const batch = this.#journal.take();
    if (batch) this.#taken.push(batch);
    return batch !== undefined;
  }

  #acknowledge(which: number): void {
    const [batch] = this.#taken.splice(which % Math.max(1, this.#taken.length), 1);
    if (!batch) return;
    for (const value of valuesOf(this.#journal, batch)) this.acknowledged.add(value);
    this.#journal.acknowledge(batch);
  }
}

/** Until an fdatasync that began behind the last append is done. */
async function synced(work: Work, journal: Journal): Promise<void> {
  // The first one to end may have begun before; the next one has not.
  for (let round = 0; round < 2; round++) {
    const before = journal.syncs.rounds;
    work.append(0);
    await waitFor(() => journal.syncs.rounds > before, {
      timeoutMs: 3000,
      what: 'an fdatasync',
      intervalMs: 1,
    });
  }
}

/** What is in the batches, each looked at as Kafka will. */
function look(journal: Journal, batches: readonly JournalledBatch[]): string[] {
  for (const batch of batches) {
    if (batch.placement) expect(batch.placement).toEqual(PLACEMENT);
    journal.place(batch, PLACEMENT);
    const sent = Buffer.from(journal.bytesOf(batch)).fill(0, 0, 8);
    expect(readBatches(sent, 0, 0, [])).toBe(batch.recordCount); // throws on anything odd
  }
  return batches.flatMap((batch) => valuesOf(journal, batch));
}

/** `part` is `whole` with some left out. */
function expectInOrder(part: readonly string[], whole: readonly string[]): void {
  let at = -1;
  for (const value of part) {
    const next = whole.indexOf(value, at + 1);
    if (next < 0) throw new Error(`"${value.trim()}" is not behind "${whole[at]?.trim()}"`);
    at = next;
  }
}

interface PowerCut {
  readonly blockBytes: number;
  readonly zeros: boolean;
  readonly before: readonly Step[];
  readonly after: readonly Step[];
  /** Records appended by the next process before it is killed. */
  readonly later: number;
  readonly choose: (versions: number) => number;
}

async function survive({
  blockBytes,
  zeros,
  before,
  after,
  later,
  choose,
}: PowerCut): Promise<void> {
  using dir = tempDir();
  using cut = tempDir();
  await using open = openJournal(dir.path, { journalBytes: JOURNAL_BYTES, syncMs: 1 });
  const work = new Work(open.journal);
  for (const next of before) work.run(next);
  await settled(open);
  const onDisk = [...work.appended];
  await synced(work, open.journal);
  const disk = new DiskHistory(dir.path, blockBytes);
  for (const next of after) {
    work.run(next);
    disk.note();
  }
  disk.cut(cut.path, choose, zeros);

  await using restarted = openJournal(cut.path, { journalBytes: JOURNAL_BYTES });
  const batches = takeAll(restarted.journal);
  const found = look(restarted.journal, batches);
  expectInOrder(found, work.appended);
  if (!zeros) {
    const missing = onDisk.filter(
      (value) => !work.acknowledged.has(value) && !found.includes(value),
    );
    expect(missing).toEqual([]);
  }
  expect(await afterKill(restarted)).toEqual(found);

  for (const batch of batches) restarted.journal.acknowledge(batch);
  const kept = await goOn(restarted, later);
  expect(await afterKill(restarted)).toEqual(kept);
}

/** The files are used all over again. Returns what is not acknowledged at the end. */
async function goOn(open: OpenJournal, later: number): Promise<string[]> {
  const kept: string[] = [];
  for (let index = 0; index < later; index++) {
    const value = `later ${index} `.padEnd(900, '.');
    await appendSoon(open, value, 0);
    kept.push(value);
    if (index % 7 === 0) {
      open.journal.seal();
      acknowledgeAll(open.journal);
      kept.length = 0;
    }
  }
  return kept;
}

async function afterKill(open: OpenJournal): Promise<string[]> {
  using killed = tempDir();
  copyAsKilled(open.directory, killed.path);
  await using again = openJournal(killed.path, { journalBytes: JOURNAL_BYTES });
  return look(again.journal, takeAll(again.journal));
}

const STEPS = { minLength: 1, maxLength: 25 };

test.each([
  ['any block of 4096 bytes as it was at or after the last sync', 4096, false],
  ['any sector of 512 bytes as it was at or after the last sync', 512, false],
  ['any block as it was, or zeros where it was being written', 4096, true],
])('%s', async (_name, blockBytes, zeros) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, STEPS),
      fc.array(step, STEPS),
      fc.nat(500),
      fc.infiniteStream(fc.nat()),
      async (before, after, later, choices) => {
        const choose = (versions: number): number => {
          const choice: number = choices.next().value ?? 0;
          // The oldest and the newest content are the likely ones.
          if (choice % 4 === 0) return 0;
          return choice % 4 === 1 ? (choice >> 2) % versions : versions - 1;
        };
        await survive({ blockBytes, zeros, before, after, later, choose });
      },
    ),
    runs(40),
  );
});
