// Who uses a journal directory: one live process at a time, and whether the last one ended with its
// machine. Knows no segments.
//
// The file `owner` names process and kernel boot while a journal is open and goes with a clean close,
// behind the last fdatasync. So where it names another boot than the running one, the machine went
// down under that process: what it had not synced may be lost.

import { Database, SQLiteError } from 'bun:sqlite';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { JournalLocked, makeWritable, unusable } from './journal-directory.ts';

const KERNEL_BOOT_ID = '/proc/sys/kernel/random/boot_id';

export class JournalLock {
  /** The last process that had this journal ended with its machine. */
  readonly machineStopped: boolean;
  readonly #directory: string;
  readonly #lock: Database;

  /** @throws {JournalUnusable} above all `JournalLocked`: held by another process */
  constructor(directory: string) {
    this.#directory = directory;
    this.#lock = lock(directory);
    const before = readOwner(ownerFile(directory))?.bootId ?? '';
    const bootId = kernelBootId();
    this.machineStopped = before !== '' && bootId !== '' && before !== bootId;
    writeOwner(ownerFile(directory), bootId);
  }

  /** Puts the note of the owner on the disk, but for its name. Never rejects. */
  async sync(): Promise<void> {
    const file = await open(ownerFile(this.#directory)).catch(() => undefined);
    // Where that fails, the end of the machine goes unnoticed.
    await file?.datasync().catch(() => {});
    await file?.close();
  }

  /** All that the journal holds is on the disk: should the machine go down now, nothing is lost. */
  async forgetOwner(): Promise<void> {
    // Where that fails, or the disk does not hear of it, the next start may warn in vain.
    await unlink(ownerFile(this.#directory)).catch(() => {});
  }

  close(): void {
    this.#lock.close();
  }
}

/**
 * For a server as a whole, whose journals are in the directory or in others below it.
 * @throws {JournalUnusable} above all `JournalLocked`: another server has it
 */
export function claimServer(directory: string): Disposable {
  makeWritable(directory);
  const claim = lock(directory, 'server');
  writeOwner(ownerFile(directory, 'server'), kernelBootId());
  return claim;
}

/**
 * Which process has the directory as a server; undefined = none. Only looks: a server that starts in
 * the microseconds of that would be refused, so it is for people who ask, not for programs that poll.
 */
export function findServer(directory: string): string | undefined {
  const path = join(directory, 'server');
  if (!existsSync(path)) return undefined;
  using database = new Database(path, { readonly: true });
  try {
    database.run('SELECT 1 FROM sqlite_master');
    return undefined;
  } catch (error) {
    if (!isBusy(error)) throw error;
    return readOwner(ownerFile(directory, 'server'))?.pid ?? 'unknown';
  }
}

/**
 * SQLite's exclusive lock is a POSIX lock: the kernel drops it with the process, however that
 * ended, and it holds between containers that share a volume. Bun offers no flock of its own.
 * The file stays: were it removed, two processes could hold "the" lock on two files of one name.
 */
function lock(directory: string, name: LockName = 'lock'): Database {
  const path = join(directory, name);
  let database: Database | undefined;
  try {
    database = new Database(path, { create: true });
    database.run('PRAGMA locking_mode = EXCLUSIVE');
    database.run('BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database?.close();
    if (!isBusy(error)) throw unusable(`cannot lock ${path} of JOURNAL_DIR=${directory}`, error);
    const owner = readOwner(ownerFile(directory, name));
    throw new JournalLocked(
      `the journal ${directory} is in use by another hoplog${owner ? ` (process ${owner.pid})` : ''}. ` +
        'Stop that one first, or give this one its own JOURNAL_DIR',
    );
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof SQLiteError && (error.code ?? '').startsWith('SQLITE_BUSY');
}

interface Owner {
  readonly pid: string;
  /** Empty in a file of an older hoplog, or where the system has none. */
  readonly bootId: string;
}

/** A hint only, the lock itself is the kernel's: what cannot be read is as good as not there. */
function readOwner(path: string): Owner | undefined {
  try {
    const [pid = '', bootId = ''] = readFileSync(path, 'utf8').split('\n');
    return { pid, bootId };
  } catch {
    return undefined;
  }
}

function writeOwner(path: string, bootId: string): void {
  try {
    writeFileSync(path, `${process.pid}\n${bootId}\n`);
  } catch {
    // Then no message names this process, and its end with the machine goes unnoticed.
  }
}

/** Of one journal, or of all in the directory and below. */
type LockName = 'lock' | 'server';

function ownerFile(directory: string, name: LockName = 'lock'): string {
  return join(directory, name === 'lock' ? 'owner' : 'server-owner');
}

/** Linux only; elsewhere empty. */
function kernelBootId(): string {
  try {
    return readFileSync(KERNEL_BOOT_ID, 'utf8').trim();
  } catch {
    return '';
  }
}
