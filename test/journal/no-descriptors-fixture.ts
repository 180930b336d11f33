// `sh -c 'ulimit -n N; exec bun no-descriptors-fixture.ts DIRECTORY RECORDS'`: opens a journal, takes all
// descriptors that are left to the process, and appends. Prints what `append` answered and what the
// journal complained of.

import { openSync, writeSync } from 'node:fs';
import { openJournal, SEGMENT_BYTES } from '../support/journals.ts';

const [directory = '', records = '0'] = process.argv.slice(2);
const VALUE = 'x'.repeat(500);
/** Of one tick: the journal makes segments in the background between them. */
const BURST = 50;

const { journal, errors } = openJournal(directory, { journalBytes: 64 * SEGMENT_BYTES });
try {
  for (;;) openSync('/dev/null', 'r');
} catch (error) {
  if ((error as NodeJS.ErrnoException).code !== 'EMFILE') throw error;
}
const results: Record<string, number> = {};
for (let index = 0; index < Number(records); index++) {
  const result = journal.append(VALUE, Date.now());
  results[result] = (results[result] ?? 0) + 1;
  if (index % BURST === 0) await new Promise(setImmediate);
}
writeSync(1, JSON.stringify({ results, errors }));
process.exit(0);
