// Proves that a journal has one process at a time, whatever happens to that process: the lock is the
// kernel's, so the holder runs in a child here.

import { expect, test } from 'bun:test';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { JournalUnusable, makeWritable } from '../../src/journal/journal-directory.ts';
import { openJournal } from '../support/journals.ts';
import { tempDir } from '../support/temp-dir.ts';

const PROGRAM = join(import.meta.dir, '../support/journal-process.ts');

interface Holder extends AsyncDisposable {
  readonly pid: number;
  /** What it said about opening. */
  readonly answer: string;
  kill(): Promise<unknown>;
}

async function holder(directory: string): Promise<Holder> {
  const child = Bun.spawn([process.execPath, PROGRAM, directory], {
    stdin: 'ignore',
    stdout: 'pipe',
  });
  const kill = (): Promise<unknown> => {
    child.kill('SIGKILL');
    return child.exited;
  };
  let answer = '';
  for await (const chunk of child.stdout) {
    answer += Buffer.from(chunk).toString();
    if (answer.includes('\n')) break;
  }
  const [line = ''] = answer.split('\n');
  return {
    pid: child.pid,
    answer: line,
    kill,
    [Symbol.asyncDispose]: async () => void (await kill()),
  };
}

function refusalOf(directory: string): string {
  try {
    openJournal(directory);
  } catch (error) {
    expect(error).toBeInstanceOf(JournalUnusable);
    return (error as Error).message;
  }
  throw new Error('the journal was opened');
}

test('fault 47: a second process is refused in one line with directory and holder, until the first is killed', async () => {
  using dir = tempDir();
  await using first = await holder(dir.path);
  expect(first.answer).toBe('open');
  const message = refusalOf(dir.path);
  expect(message).toContain(
    `the journal ${dir.path} is in use by another hoplog (process ${first.pid})`,
  );
  expect(message).toContain('Stop that one first, or give this one its own JOURNAL_DIR');
  expect(message).not.toContain('\n');
  await first.kill();
  await using second = openJournal(dir.path);
  expect(second.journal.append('record', 0)).toBe('appended');
});

test('a journal that is open here is refused to another process, and to a second part of this one', async () => {
  using dir = tempDir();
  await using open = openJournal(dir.path);
  expect(open.journal.bytes).toBeGreaterThan(0);
  await using other = await holder(dir.path);
  expect(other.answer).toContain(`JournalLocked: the journal ${dir.path} is in use`);
  expect(refusalOf(dir.path)).toContain(`(process ${process.pid})`);
});

test('a refused start changes nothing, and the holder keeps its lock', async () => {
  using dir = tempDir();
  await using open = openJournal(dir.path);
  refusalOf(dir.path);
  refusalOf(dir.path);
  await using other = await holder(dir.path);
  expect(other.answer).toContain('is in use');
  expect(open.journal.append('record', 0)).toBe('appended');
});

test('a closed journal can be opened by the next process', async () => {
  using dir = tempDir();
  {
    await using _open = openJournal(dir.path);
  }
  await using next = await holder(dir.path);
  expect(next.answer).toBe('open');
});

test('without a note of the owner the refusal says so without a process', async () => {
  using dir = tempDir();
  await using _open = openJournal(dir.path);
  rmSync(join(dir.path, 'owner'));
  expect(refusalOf(dir.path)).toContain('is in use by another hoplog. Stop');
});

test('a note of the owner that cannot be written is not taken for another hoplog', async () => {
  using dir = tempDir();
  mkdirSync(join(dir.path, 'owner')); // stands for a full disk: any failure to write the file
  await using open = openJournal(dir.path);
  expect(open.journal.append('record', 0)).toBe('appended');
});

test('two processes that start in one directory at the same time do not make each other fail', async () => {
  using dir = tempDir('memory');
  const source = join(import.meta.dir, '../../src/journal/journal-directory.ts');
  const program = `
    import { makeWritable } from ${JSON.stringify(source)};
    console.log('ready');
    for (let start = 0; start < 1000; start++) makeWritable(${JSON.stringify(dir.path)});
  `;
  const other = Bun.spawn([process.execPath, '-e', program], { stdin: 'ignore', stdout: 'pipe' });
  try {
    await other.stdout.getReader().read();
    for (let start = 0; start < 1000; start++) makeWritable(dir.path);
    expect(await other.exited).toBe(0);
  } finally {
    other.kill('SIGKILL');
  }
});
