// May this process use the directory: rights, room, and what the disk under it is good for.
// Knows nothing of what is in the files.

import { closeSync, fsyncSync, mkdirSync, openSync, rmSync, statfsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

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
 * Makes the directory if there is none, and sees whether it can be written to.
 * @throws {JournalUnusable}
 */
export function makeWritable(directory: string): void {
  const probe = join(directory, '.writable');
  try {
    makeDirectory(resolve(directory));
    closeSync(openSync(probe, 'w'));
    // Another process that starts may have removed it.
    rmSync(probe, { force: true });
  } catch (error) {
    throw unusable(`cannot write to JOURNAL_DIR=${directory}`, error);
  }
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

/** With its parents, and with the names of those it made on the disk. */
function makeDirectory(directory: string): void {
  const first = mkdirSync(directory, { recursive: true });
  if (first === undefined) return;
  for (let made = directory; made.length >= first.length; made = dirname(made)) {
    syncDirectory(dirname(made));
  }
}

/** A file's name is in its directory, not in the file: without this a power cut may take the name. */
export function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
