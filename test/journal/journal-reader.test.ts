// Proves that a journal can be read while it is written: each record once, in order, also those of
// the open batch, over seals, new segments and recycling, and without changing a byte of it.

import { describe, expect, test } from 'bun:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { JournalReader } from '../../src/journal/journal-reader.ts';
import {
  acknowledgeAll,
  copyAsKilled,
  numbersOf,
  openJournal,
  SEGMENT_BYTES,
  segmentFiles,
  settled,
} from '../support/journals.ts';
import { batchesOf, reopened } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const TIME = 1_764_145_000_000;
const PROGRAM = join(import.meta.dir, '../support/journal-process.ts');

function newValues(reader: JournalReader): string[] {
  return [...reader.read()].map((value) => Buffer.from(value).toString());
}

function value(index: number): string {
  return `${index} `.padEnd(200, '.');
}

describe('a reader', () => {
  test('sees each record of the open batch once, and goes on over the seal', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path);
    const { journal } = open;
    const reader = new JournalReader(dir.path);
    expect(newValues(reader)).toEqual([]);
    journal.append('one', TIME);
    expect(newValues(reader)).toEqual(['one']);
    expect(newValues(reader)).toEqual([]);
    journal.append('two', TIME);
    journal.append('three', TIME);
    expect(newValues(reader)).toEqual(['two', 'three']);
    journal.seal();
    expect(newValues(reader)).toEqual([]);
    journal.append('four', TIME);
    expect(newValues(reader)).toEqual(['four']);
    journal.seal();
    journal.append('five', TIME);
    journal.seal();
    journal.append('six', TIME);
    expect(newValues(reader)).toEqual(['five', 'six']);
  });

  test('goes on over segments, whether it reads often or seldom', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path, { recycleOldest: true });
    const often = new JournalReader(dir.path);
    const seldom = new JournalReader(dir.path);
    const seen: Record<'often' | 'seldom', string[]> = { often: [], seldom: [] };
    for (let index = 0; index < 1500; index++) {
      open.journal.append(value(index), TIME);
      if (index % 37 === 0) seen.often.push(...newValues(often));
      if (index % 700 === 0) seen.seldom.push(...newValues(seldom));
    }
    seen.often.push(...newValues(often));
    seen.seldom.push(...newValues(seldom));
    expect(segmentFiles(dir.path).length).toBeGreaterThan(4);
    expect(numbersOf(seen.often)).toBe('0-1499');
    expect(numbersOf(seen.seldom)).toBe('0-1499');
    expect(numbersOf(newValues(new JournalReader(dir.path)))).toBe('0-1499');
  });

  test('that is overtaken by recycling goes on with the oldest that is left', async () => {
    using dir = tempDir();
    const options = { recycleOldest: true, journalBytes: 4 * SEGMENT_BYTES };
    await using open = openJournal(dir.path, options);
    const reader = new JournalReader(dir.path);
    open.journal.append(value(0), TIME);
    expect(numbersOf(newValues(reader))).toBe('0-0');
    for (let index = 1; index < 3000; index++) open.journal.append(value(index), TIME);
    expect(open.journal.counters.recycledSegments).toBeGreaterThan(0);
    const runs = numbersOf(newValues(reader));
    expect(runs).toMatch(/^\d+-2999$/);
    expect(newValues(reader)).toEqual([]);
    open.journal.append(value(3000), TIME);
    expect(numbersOf(newValues(reader))).toBe('3000-3000');
  });

  test('sees what a journal for Kafka keeps, placed and acknowledged or not', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path);
    const { journal } = open;
    const reader = new JournalReader(dir.path);
    journal.append('one', TIME);
    journal.seal();
    const batch = journal.take()!;
    journal.place(batch, { partition: 1, producerId: 5n, producerEpoch: 0, baseSequence: 0 });
    expect(newValues(reader)).toEqual(['one']);
    journal.acknowledge(batch);
    journal.append('two', TIME);
    expect(newValues(reader)).toEqual(['two']);
    acknowledgeAll(journal);
    expect(newValues(reader)).toEqual([]);
  });

  test('takes no lock and changes nothing', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path);
    open.journal.append('one', TIME);
    await settled(open);
    const before = segmentFiles(dir.path).map((path) => readFileSync(path).toString('base64'));
    newValues(new JournalReader(dir.path));
    const after = segmentFiles(dir.path).map((path) => readFileSync(path).toString('base64'));
    expect(after.join() === before.join()).toBe(true);
    expect(open.journal.append('two', TIME)).toBe('appended');
  });

  test('goes on over the end of one process and the start of the next', async () => {
    using dir = tempDir();
    const reader = new JournalReader(dir.path);
    const seen: string[] = [];
    for (let life = 0; life < 5; life++) {
      await using open = openJournal(dir.path, { recycleOldest: true });
      for (let index = 0; index < 100; index++)
        open.journal.append(value(life * 100 + index), TIME);
      seen.push(...newValues(reader));
    }
    seen.push(...newValues(reader));
    expect(numbersOf(seen)).toBe('0-499');
  });

  test('that is told of a directory without a journal finds nothing, of none it throws', () => {
    using dir = tempDir();
    expect(newValues(new JournalReader(dir.path))).toEqual([]);
    expect(() => newValues(new JournalReader(join(dir.path, 'none')))).toThrow('ENOENT');
  });

  test('passes over files that are no segments', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path);
    open.journal.append('one', TIME);
    writeFileSync(join(dir.path, '00000900.segment'), '');
    writeFileSync(join(dir.path, '00000901.segment'), 'short');
    writeFileSync(join(dir.path, '00000902.segment'), Buffer.alloc(9001, 0x67));
    writeFileSync(join(dir.path, '00000903.segment'), Buffer.alloc(9000));
    writeFileSync(join(dir.path, 'notes.txt'), 'not a segment');
    expect(newValues(new JournalReader(dir.path))).toEqual(['one']);
  });

  test('reads on behind a segment that a power cut left without its end', async () => {
    using live = tempDir();
    using dir = tempDir();
    await using open = openJournal(live.path);
    for (let index = 0; index < 600; index++) open.journal.append(value(index), TIME);
    copyAsKilled(live.path, dir.path);
    const [path = ''] = segmentFiles(dir.path);
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.fill(0, 208, 224));
    expect(numbersOf(newValues(new JournalReader(dir.path)))).toBe('0-599');
  });

  test('reads on behind a damaged batch', async () => {
    using live = tempDir();
    using dir = tempDir();
    await using open = openJournal(live.path);
    for (let index = 0; index < 600; index++) open.journal.append(value(index), TIME);
    copyAsKilled(live.path, dir.path);
    const [path = ''] = segmentFiles(dir.path);
    const bytes = readFileSync(path);
    const [, second] = batchesOf(reopened(bytes));
    bytes[second!.position + 100]! ^= 1;
    writeFileSync(path, bytes);
    const lost = second!.values.map((text) => Number.parseInt(text, 10));
    const expected = `0-${lost[0]! - 1} ${lost.at(-1)! + 1}-599`;
    expect(numbersOf(newValues(new JournalReader(dir.path)))).toBe(expected);
  });
});

test('a journal that another process writes is read record by record, without a gap or a double', async () => {
  using dir = tempDir();
  const count = 30_000;
  const writer = Bun.spawn([process.execPath, PROGRAM, dir.path, String(count)], {
    stdin: 'ignore',
    stdout: 'pipe',
  });
  try {
    let said = '';
    const listening = (async () => {
      for await (const chunk of writer.stdout) said += Buffer.from(chunk).toString();
    })();
    // Several, because a reader meets the moment between two segments only now and then.
    const readers = Array.from({ length: 6 }, () => new JournalReader(dir.path));
    const seen: string[][] = readers.map(() => []);
    await waitFor(
      () => {
        const written = said.includes('done');
        for (const [index, reader] of readers.entries()) seen[index]!.push(...newValues(reader));
        return written;
      },
      { timeoutMs: 10_000, what: 'the writer to be done', intervalMs: 1 },
    );
    expect(seen.map((values) => numbersOf(values))).toEqual(readers.map(() => `0-${count - 1}`));
    writer.kill('SIGKILL');
    await listening;
  } finally {
    writer.kill('SIGKILL');
    await writer.exited;
  }
}, 240_000);
