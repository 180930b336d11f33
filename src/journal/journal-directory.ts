// May this process use the directory: rights, lock, room, and what the disk under it is good for.
// Knows nothing of what is in the files.

import { Database, SQLiteError } from 'bun:sqlite';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  statfsSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

/** File systems that are gone with the power: tmpfs and ramfs, by the number statfs gives. */
const VOLATILE_TYPES = [0x01021994, 0x858458f6];

/** The journal cannot be used as asked: the message says why and what to do. */
export class JournalUnusable extends Error {
  override readonly name: string = 'JournalUnusable';
}

/** Another process has it open. */
export class JournalLocked extends JournalUnusable {
  override readonly name = 'JournalLocked';
}

/**
 * Makes the directory, and holds it until the process ends or the answer is closed.
 * @throws {JournalUnusable} no rights, no room for a file, held by another process
 */
export function claimDirectory(directory: string): Database {
  makeWritable(directory);
  return lockDirectory(directory);
}

/** @throws {JournalUnusable} `bytes` more do not fit */
export function requireRoom(directory: string, bytes: number, journalBytes: number): void {
  const { bavail, bsize } = statfsSync(directory);
  const missing = bytes - bavail * bsize;
  if (missing <= 0) return;
  throw new JournalUnusable(
    `the disk of JOURNAL_DIR=${directory} has ${mebibytes(bavail * bsize)} MiB free, ` +
      `${mebibytes(missing)} MiB too few for JOURNAL_BYTES=${journalBytes}. ` +
      'Free some space, or set a smaller JOURNAL_BYTES',
  );
}

/** Does a power cut, or the end of a container, take all that is in it? */
export function isVolatile(directory: string): boolean {
  return VOLATILE_TYPES.includes(statfsSync(directory).type);
}

/** An error of the file system, as a refusal that says what to do about it. */
export function unusable(what: string, error: unknown): JournalUnusable {
  const { code = String(error) } = error as NodeJS.ErrnoException;
  return new JournalUnusable(`${what} (${code}). ${remedyFor(code)}`);
}

function remedyFor(code: string): string {
  if (['ENOSPC', 'EDQUOT', 'SQLITE_FULL'].includes(code)) {
    return 'Free some disk space, or name another directory';
  }
  if (code === 'EROFS') return 'Mount it for writing, or name another directory';
  if (code === 'EMFILE' || code === 'ENFILE') return 'Raise the limit of open files';
  return 'Create it, give this user write access to it and its files, or name another directory';
}

function makeWritable(directory: string): void {
  const probe = join(directory, '.writable');
  try {
    mkdirSync(directory, { recursive: true });
    closeSync(openSync(probe, 'w'));
    unlinkSync(probe);
  } catch (error) {
    throw unusable(`cannot write to JOURNAL_DIR=${directory}`, error);
  }
}

/**
 * SQLite's exclusive lock is a POSIX lock: the kernel drops it with the process, however that
 * ended, and it holds between containers that share a volume. Bun offers no flock of its own.
 * The file stays: were it removed, two processes could hold "the" lock on two files of one name.
 *
 * @throws {JournalUnusable}
 */
export function lockDirectory(directory: string): Database {
  const path = join(directory, 'lock');
  let lock: Database | undefined;
  try {
    lock = new Database(path, { create: true });
    lock.run('PRAGMA locking_mode = EXCLUSIVE');
    lock.run('BEGIN EXCLUSIVE');
  } catch (error) {
    lock?.close();
    if (!isBusy(error)) throw unusable(`cannot lock ${path} of JOURNAL_DIR=${directory}`, error);
    const owner = readOwner(directory);
    throw new JournalLocked(
      `the journal ${directory} is in use by another hoplog${owner}. ` +
        'Stop that one first, or give this one its own JOURNAL_DIR',
    );
  }
  noteOwner(directory);
  return lock;
}

function isBusy(error: unknown): boolean {
  return error instanceof SQLiteError && (error.code ?? '').startsWith('SQLITE_BUSY');
}

/** A hint for the message above, no more: the lock itself is the kernel's. */
function noteOwner(directory: string): void {
  try {
    writeFileSync(join(directory, 'owner'), `${process.pid}\n`);
  } catch {
    // Then the message names no process.
  }
}

function readOwner(directory: string): string {
  try {
    return ` (process ${readFileSync(join(directory, 'owner'), 'utf8').trim()})`;
  } catch {
    return '';
  }
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
