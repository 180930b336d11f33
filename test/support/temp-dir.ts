// A directory of one test's own, gone when the test's scope ends: `using dir = tempDir()`.
// A test process killed from outside leaves it behind, in the system's temp directory.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TempDir extends Disposable {
  readonly path: string;
}

export function tempDir(): TempDir {
  const path = mkdtempSync(join(tmpdir(), 'hoplog-test-'));
  return {
    path,
    // Retries: a process killed a moment ago may still be creating a file in there.
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }),
  };
}
