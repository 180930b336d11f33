// A program that fills a journal until it is full and is then killed: `bun backlog-process.ts DIRECTORY
// JOURNAL_BYTES`. The records are `0 …`, `1 …`, 250 bytes each, as many as a click has. Prints how many.

import { Journal } from '../../src/journal/journal.ts';

const RECORD_BYTES = 250;
/** In between, the segments that are made in the background come. */
const BURST = 10_000;

const [directory = '', journalBytes = ''] = process.argv.slice(2);
const journal = new Journal({
  directory,
  journalBytes: Number(journalBytes),
  batchBytes: 1_000_000,
  syncMs: 3_600_000,
  recycleOldest: false,
  onError: (action, error) => {
    throw new Error(action, { cause: error });
  },
});
const padding = '.'.repeat(RECORD_BYTES);
let count = 0;
for (;;) {
  const number = `${count} `;
  if (journal.append(number + padding.slice(number.length), Date.now()) === 'full') break;
  if (++count % BURST === 0) await new Promise(setImmediate);
}
await Bun.write(Bun.stdout, `${count}\n`);
process.kill(process.pid, 'SIGKILL');
