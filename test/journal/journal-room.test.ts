// What a journal says of its room: a record takes it, Kafka gives it back, a full journal has none, and in
// local mode, where the oldest makes room, all of it is always there.

import { expect, test } from 'bun:test';
import { RESERVE_BYTES } from '../../src/journal/segment-size.ts';
import { acknowledgeAll, fillUp, openJournal, SEGMENT_BYTES } from '../support/journals.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const SEGMENTS = 4;
const JOURNAL_BYTES = SEGMENTS * SEGMENT_BYTES + 1000;
const VALUE = 'x'.repeat(500);

test('records take room, all of it in the end, and acknowledged ones give it back', async () => {
  using dir = tempDir();
  await using open = openJournal(dir.path, { journalBytes: JOURNAL_BYTES });
  const { journal } = open;
  expect(journal.bytesMax).toBe(JOURNAL_BYTES);
  const atFirst = journal.freeBytes;
  // The end of the last segment is a reserve, and each has a page of its own notes.
  const most = SEGMENTS * SEGMENT_BYTES - RESERVE_BYTES;
  expect(atFirst).toBeWithin(most - 5000, most);
  journal.append(VALUE, 0);
  expect(atFirst - journal.freeBytes).toBeWithin(500, 700);
  await fillUp(open, () => VALUE);
  expect(journal.freeBytes).toBe(0);
  journal.seal();
  acknowledgeAll(journal);
  await waitFor(() => journal.freeBytes > most - SEGMENT_BYTES, {
    timeoutMs: 5_000,
    what: 'room for three segments',
  });
});

test('in local mode the room is the whole journal, however much is in it', async () => {
  using dir = tempDir();
  await using open = openJournal(dir.path, { journalBytes: JOURNAL_BYTES, recycleOldest: true });
  for (let index = 0; index < 1000; index++) open.journal.append(VALUE, 0);
  expect(open.journal.counters.recycledSegments).toBeGreaterThan(0);
  expect(open.journal.freeBytes).toBe(JOURNAL_BYTES);
});
