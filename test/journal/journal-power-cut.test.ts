// Proves the single cases of a power cut that once lost or doubled records: the disk kept some pages
// of a journal and older contents of others. Random ones are in test/property/power-cut.test.ts.

import { expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Segment } from '../../src/journal/segment.ts';
import {
  changeFirst,
  copyAsKilled,
  killedWith,
  openJournal,
  SEGMENT_BYTES,
  takeAll,
  takeValues,
} from '../support/journals.ts';
import { memorySegment, Scribe } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';

const TIME = 1_764_145_000_000;

test('fault 71: a power cut that kept an acknowledged position and lost the batches below it loses no later record', async () => {
  using dir = tempDir();
  {
    using live = tempDir();
    await using open = openJournal(live.path);
    for (const value of ['one', 'two', 'three']) {
      open.journal.append(value, TIME);
      open.journal.seal();
    }
    for (const batch of takeAll(open.journal)) open.journal.acknowledge(batch);
    copyAsKilled(live.path, dir.path);
  }
  changeFirst(dir.path, (bytes) => bytes.fill(0, 4096)); // of all pages only the first was written
  {
    using next = tempDir();
    await using open = openJournal(dir.path);
    expect(open.journal.append('later', TIME)).toBe('appended');
    open.journal.seal();
    copyAsKilled(dir.path, next.path);
    expect(takeValues(open.journal)).toEqual(['later']);
    await using again = openJournal(next.path);
    expect(takeValues(again.journal)).toEqual(['later']);
  }
});

test('a power cut that kept batches and lost the marks does not bring them back behind newer ones', async () => {
  using dir = tempDir();
  await killedWith(dir.path, ['one', 'two', 'three']);
  // The first page as it was when the segment was begun: its records are not on the disk for us.
  changeFirst(dir.path, (bytes) => bytes.fill(0, 64, 256));
  using next = tempDir();
  await using open = openJournal(dir.path);
  const before = takeValues(open.journal);
  expect(open.journal.append('later', TIME)).toBe('appended');
  copyAsKilled(dir.path, next.path);
  await using again = openJournal(next.path);
  expect(takeValues(again.journal)).toEqual([...before, 'later']);
});

test.each([3, 4])(
  'a power cut that kept batches and an older identity (generation %d) does not bring them back',
  async (generation) => {
    using dir = tempDir();
    /** A segment that Kafka has all of. */
    const delivered = (ofGeneration: number): Segment => {
      const segment = memorySegment(SEGMENT_BYTES, ofGeneration);
      const { next } = new Scribe(segment).write('delivered').seal();
      segment.acknowledged = next;
      segment.closed = next;
      return segment;
    };
    const waiting = memorySegment(SEGMENT_BYTES, 5);
    waiting.closed = new Scribe(waiting).write('waiting').seal().next;
    // Begun anew as generation 6 and written to; of its first page the disk kept the life before.
    const cut = delivered(generation);
    const lost = memorySegment(SEGMENT_BYTES, 6);
    for (const scribe = new Scribe(lost); scribe.next < 40_000;)
      scribe.write('lost'.repeat(50)).seal();
    lost.buffer.copy(cut.buffer, 4096, 4096);
    for (const [index, segment] of [delivered(7 - generation), cut, waiting].entries()) {
      writeFileSync(join(dir.path, `0000000${index + 1}.segment`), segment.buffer);
    }
    using next = tempDir();
    const options = { journalBytes: 3 * SEGMENT_BYTES };
    await using open = openJournal(dir.path, options);
    expect(open.journal.append('later', TIME)).toBe('appended');
    copyAsKilled(dir.path, next.path);
    await using again = openJournal(next.path, options);
    const found = takeValues(again.journal).map((value) => value.slice(0, 7));
    expect([...new Set(found)]).toEqual(['waiting', 'later']);
  },
);
