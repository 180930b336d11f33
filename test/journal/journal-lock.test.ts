// Proves that a start knows whether the machine went down under the process before it, by the note that
// an open journal keeps of the kernel's boot. That the lock itself holds is in journal-directory.test.ts.

import { expect, test } from 'bun:test';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { claimServer, findServer } from '../../src/journal/journal-lock.ts';
import { killedWith, openJournal, OTHER_BOOT } from '../support/journals.ts';
import { tempDir } from '../support/temp-dir.ts';

const BOOT_ID = '/proc/sys/kernel/random/boot_id';

/** Opens and closes; did it find that the machine had stopped, and with which newest value? */
async function opened(directory: string): Promise<string[]> {
  const stops: string[] = [];
  await using open = openJournal(directory, {
    onMachineStopped: ({ newest }) => stops.push(Buffer.from(newest ?? []).toString()),
  });
  expect(open.journal.bytes).toBeGreaterThan(0);
  return stops;
}

test('the note of the owner names the boot of the kernel, and goes with a clean close', async () => {
  using dir = tempDir();
  const note = join(dir.path, 'owner');
  {
    await using _open = openJournal(dir.path);
    const [pid, bootId] = readFileSync(note, 'utf8').split('\n');
    expect(pid).toBe(String(process.pid));
    if (existsSync(BOOT_ID)) expect(bootId).toBe(readFileSync(BOOT_ID, 'utf8').trim());
  }
  expect(existsSync(note)).toBe(false);
  expect(await opened(dir.path)).toEqual([]);
});

test.skipIf(!existsSync(BOOT_ID))(
  'a note of another boot tells that the machine went down, with the newest record that is left',
  async () => {
    using dir = tempDir();
    await killedWith(dir.path, ['one', 'two', 'three']);
    writeFileSync(join(dir.path, 'owner'), `1\n${OTHER_BOOT}\n`);
    expect(await opened(dir.path)).toEqual(['three']);
    expect(await opened(dir.path)).toEqual([]);
  },
);

test.each(['', '1\n', `1\n${existsSync(BOOT_ID) ? readFileSync(BOOT_ID, 'utf8') : ''}`])(
  'a note of this boot, or none that can be read, tells nothing: %j',
  async (note) => {
    using dir = tempDir();
    await killedWith(dir.path, ['one']);
    writeFileSync(join(dir.path, 'owner'), note);
    expect(await opened(dir.path)).toEqual([]);
  },
);

test('a server claims its directory as a whole, whoever has a journal in it', async () => {
  using dir = tempDir();
  const claim = claimServer(dir.path);
  {
    await using open = openJournal(dir.path);
    expect(open.journal.append('record', 0)).toBe('appended');
    expect(() => claimServer(dir.path)).toThrow(
      `${dir.path} is in use by another hoplog (process ${process.pid})`,
    );
  }
  claim[Symbol.dispose]();
  claimServer(dir.path)[Symbol.dispose]();
});

test('looking for the server of a directory finds its process, and disturbs nobody', () => {
  using dir = tempDir();
  expect(findServer(dir.path)).toBeUndefined();
  expect(readdirSync(dir.path)).toEqual([]);
  const claim = claimServer(dir.path);
  expect(findServer(dir.path)).toBe(String(process.pid));
  expect(() => claimServer(dir.path)).toThrow('is in use by another hoplog');
  claim[Symbol.dispose]();
  expect(findServer(dir.path)).toBeUndefined();
  claimServer(dir.path)[Symbol.dispose]();
});
