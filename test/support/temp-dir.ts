// A directory of one test's own, gone when the test's scope ends: `using dir = tempDir()`.
// A test process killed from outside leaves it behind, in the system's temp directory.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TempDir extends Disposable {
  readonly path: string;
}

/** Where files live in memory, on Linux: for tests that make many, and need no disk. */
const MEMORY = '/dev/shm';

export function tempDir(where: 'disk' | 'memory' = 'disk'): TempDir {
  const parent = where === 'memory' && existsSync(MEMORY) ? MEMORY : tmpdir();
  const path = mkdtempSync(join(parent, 'hoplog-test-'));
  return {
    path,
    // Retries: a process killed a moment ago may still be creating a file in there.
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }),
  };
}
