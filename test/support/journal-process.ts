// A program that uses a journal in a process of its own: `bun journal-process.ts DIRECTORY RECORDS`.
// Prints "open" or why not, appends the records `0 `, `1 `, … (padded) in bursts, prints "done",
// and stays until it is killed.

import { BATCH_BYTES, openJournal, SEGMENT_BYTES } from './journals.ts';

const [directory = '', records = '0'] = process.argv.slice(2);
const BURST = 50;

try {
  const { journal } = openJournal(directory, { journalBytes: 128 * SEGMENT_BYTES });
  process.stdout.write('open\n');
  const value = (index: number): string => `${index} `.padEnd(index % (BATCH_BYTES / 4));
  for (let index = 0; index < Number(records); index++) {
    if (journal.append(value(index), Date.now()) !== 'appended') throw new Error('full');
    if (index % BURST === 0) await new Promise(setImmediate);
  }
  process.stdout.write('done\n');
  setInterval(() => {}, 60_000);
} catch (error) {
  process.stdout.write(`${String(error)}\n`);
}
