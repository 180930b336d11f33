// How much of the faults a run covers. `npm test` runs the fast part, `npm run test:faults` all of it at
// full length: the same code, told apart here and nowhere else.

import { test } from 'bun:test';

const ALL = process.env['HOPLOG_FAULTS'] === 'all';

/** The first value in `npm test`, the second in `npm run test:faults`. */
export function extent<Value>(fast: Value, all: Value): Value {
  return ALL ? all : fast;
}

/** A test that is too slow for `npm test`; there it is skipped and says so. */
export function slowTest(name: string, run: () => Promise<void>, timeoutMs: number): void {
  if (ALL) {
    test(name, run, timeoutMs);
    return;
  }
  process.stderr.write(`SKIPPED "${name}": slow, npm run test:faults runs it\n`);
  test.skip(name, run, timeoutMs);
}
