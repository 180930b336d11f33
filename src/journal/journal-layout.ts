// Where the journals of one JOURNAL_DIR are.
//
//   JOURNAL_DIR/            the journal of a server of one process
//   JOURNAL_DIR/worker-1/   … of the first worker, and so on
//
// A worker that starts while its directory is in use (by the one it replaces, or by a sibling that took
// it over) gets the next free one behind those of all workers. So none belongs to anybody: whoever has
// the lock uses it, and whatever has no lock and still holds records is an orphan.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { JournalLocked } from './journal-directory.ts';

const WORKER_NAME = /^worker-\d+$/;

/** Those that hold segments, in use or not. @throws what readdir throws */
export function journalDirectories(root: string): string[] {
  const workers = readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && WORKER_NAME.test(entry.name))
    .map(({ name }) => join(root, name))
    .toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  return [root, ...workers].filter((directory) =>
    readdirSync(directory).some((name) => name.endsWith('.segment')),
  );
}

/** Opens the journal of worker `worker` (from 1) of `workers`. @throws what `open` throws */
export function openWorkerJournal<Opened>(
  root: string,
  { worker, workers }: { worker: number; workers: number },
  open: (directory: string) => Opened,
): Opened {
  for (let number = worker; ; number = Math.max(number, workers) + 1) {
    try {
      return open(join(root, `worker-${number}`));
    } catch (error) {
      if (!(error instanceof JournalLocked)) throw error;
    }
  }
}
