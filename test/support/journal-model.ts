// The journal next to a naive model of it: a list of all that was appended, and what of it was
// acknowledged. Each command does the same to both and compares.

import type * as fc from 'fast-check';
import { expect } from 'bun:test';
import type { JournalledBatch } from '../../src/journal/cursor.ts';
import type { Placement } from '../../src/journal/journalled-batch.ts';
import { copyAsKilled, openJournal, type OpenJournal, settled, valuesOf } from './journals.ts';
import { tempDir, type TempDir } from './temp-dir.ts';

export interface Sizes {
  readonly journalBytes: number;
  readonly batchBytes: number;
}

interface Placed {
  readonly placement: Placement;
  readonly bytes: Buffer;
}

export class Model {
  /** Value by number. */
  readonly appended: string[] = [];
  readonly acknowledged = new Set<number>();
  /** By the number of a batch's first record. */
  readonly placed = new Map<number, Placed>();
  /** The lowest number that was not handed out since the last start. */
  untaken = 0;
}

interface Taken {
  readonly batch: JournalledBatch;
  readonly first: number;
}

/** The journal, in whichever directory it lives at the moment. */
export class Real implements AsyncDisposable {
  readonly taken: Taken[] = [];
  readonly #sizes: Sizes;
  #dir: TempDir = tempDir();
  #open: OpenJournal;

  constructor(sizes: Sizes) {
    this.#sizes = sizes;
    this.#open = openJournal(this.#dir.path, sizes);
  }

  get open(): OpenJournal {
    return this.#open;
  }

  get journal(): OpenJournal['journal'] {
    return this.#open.journal;
  }

  async reopen(): Promise<void> {
    await this.journal.close();
    this.taken.length = 0;
    this.#open = openJournal(this.#dir.path, this.#sizes);
  }

  /** Goes on with the files as they are at this moment. */
  async kill(): Promise<void> {
    const dir = tempDir();
    copyAsKilled(this.#dir.path, dir.path);
    await this[Symbol.asyncDispose]();
    this.#dir = dir;
    this.taken.length = 0;
    this.#open = openJournal(dir.path, this.#sizes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.journal.close();
    this.#dir[Symbol.dispose]();
  }
}

type Command = fc.AsyncCommand<Model, Real>;

function command(name: string, run: (model: Model, real: Real) => Promise<void> | void): Command {
  return {
    check: () => true,
    run: async (model, real) => {
      await run(model, real);
      compare(model, real);
    },
    toString: () => name,
  };
}

function compare(model: Model, { journal, open }: Real): void {
  const sealed = model.appended.length - journal.openRecords;
  if (undelivered(model, model.untaken, sealed) > 0) expect(journal.hasUntaken).toBe(true);
  const kept = [...model.appended.keys()].filter((number) => !model.acknowledged.has(number));
  const bytes = kept.reduce((sum, number) => sum + Buffer.byteLength(model.appended[number]!), 0);
  expect(journal.backlogBytes).toBeGreaterThanOrEqual(bytes);
  // A record's time is its number.
  if (kept[0] !== undefined) expect(journal.oldestTimestamp).toBeLessThanOrEqual(kept[0]);
  expect(journal.counters.lostBytes).toBe(0);
  expect(open.errors).toEqual([]);
}

function undelivered(model: Model, from: number, to: number): number {
  let count = 0;
  for (let number = from; number < to; number++) if (!model.acknowledged.has(number)) count++;
  return count;
}

export function append(count: number, bytes: number): Command {
  return command(`append(${count}, ${bytes})`, (model, { journal }) => {
    for (let index = 0; index < count; index++) {
      const value = `${model.appended.length} `.padEnd(bytes, 'é');
      const warned = journal.full;
      const result = journal.append(value, model.appended.length);
      if (result === 'appended') model.appended.push(value);
      else expect([result, warned]).toEqual(['full', true]);
    }
  });
}

export function appendOversize(): Command {
  return command('appendOversize', (_model, { journal }) => {
    expect(journal.append('x'.repeat(5000), 0)).toBe(journal.full ? 'full' : 'oversize');
  });
}

export function seal(): Command {
  return command('seal', (_model, { journal }) => {
    journal.seal();
    expect(journal.openRecords).toBe(0);
  });
}

export function take(): Command {
  return command('take', (model, real) => void takeOne(model, real));
}

/** Hands out the next batch and checks that it is the one. */
export function takeOne(model: Model, { journal, taken }: Real): boolean {
  const batch = journal.take();
  if (!batch) {
    const sealed = model.appended.length - journal.openRecords;
    expect(undelivered(model, model.untaken, sealed)).toBe(0);
    expect(journal.hasUntaken).toBe(false);
    return false;
  }
  const values = valuesOf(journal, batch);
  const first = Number.parseInt(values[0] ?? '', 10);
  // Order, and nothing left out but what was acknowledged.
  expect(first).toBeGreaterThanOrEqual(model.untaken);
  expect(undelivered(model, model.untaken, first)).toBe(0);
  expect(values).toEqual(model.appended.slice(first, first + values.length));
  expect(batch.recordCount).toBe(values.length);
  expect([batch.baseTimestamp, batch.maxTimestamp]).toEqual([first, first + values.length - 1]);
  const before = model.placed.get(first);
  expect(batch.placement).toEqual(before?.placement);
  if (before) expect(journal.bytesOf(batch).equals(before.bytes)).toBe(true);
  model.untaken = first + values.length;
  taken.push({ batch, first });
  return true;
}

export function place(which: number, placement: Placement): Command {
  return command(`place(${which})`, (model, { journal, taken }) => {
    const chosen = taken[which % Math.max(1, taken.length)];
    if (!chosen) return;
    journal.place(chosen.batch, placement);
    model.placed.set(chosen.first, {
      placement,
      bytes: Buffer.from(journal.bytesOf(chosen.batch)),
    });
  });
}

export function acknowledge(which: number): Command {
  return command(`acknowledge(${which})`, (model, real) => {
    acknowledgeOne(model, real, which);
  });
}

export function acknowledgeOne(model: Model, { journal, taken }: Real, which: number): void {
  const [chosen] = taken.splice(which % Math.max(1, taken.length), 1);
  if (!chosen) return;
  for (let number = 0; number < chosen.batch.recordCount; number++) {
    model.acknowledged.add(chosen.first + number);
  }
  journal.acknowledge(chosen.batch);
}

/** The Kafka side at full speed: all that is sealed. */
export function deliver(): Command {
  return command('deliver', (model, real) => {
    while (takeOne(model, real));
    while (real.taken.length > 0) acknowledgeOne(model, real, 0);
    takeOne(model, real);
  });
}

export function kill(): Command {
  return command('kill', async (model, real) => {
    await real.kill();
    model.untaken = 0;
    // What was open is sealed now.
    expect(real.journal.openRecords).toBe(0);
  });
}

export function reopen(): Command {
  return command('reopen', async (model, real) => {
    await real.reopen();
    model.untaken = 0;
  });
}

/** Lets the background work end; usage must be what the files take. */
export function settle(): Command {
  return command('settle', (_model, real) => settled(real.open));
}
