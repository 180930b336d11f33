// The journal's directory as a server would meet it, without becoming one: nothing is created but a scratch
// file, which goes again, and nothing is locked.

import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fdatasyncSync,
  openSync,
  readdirSync,
  readFileSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type Config, workersOf } from '../../config.ts';
import { isVolatile } from '../../journal/journal-directory.ts';
import { journalDirectories } from '../../journal/journal-layout.ts';
import { findServer } from '../../journal/journal-lock.ts';
import { segmentBytesFor } from '../../journal/segment-size.ts';
import { failed, type Finding, ok, skipped, warning } from './finding.ts';

const SYNCS = 9;
const SYNC_BYTES = 64 * 1024;
/** A disk that takes longer is found in the latency of everything. */
const SYNC_SLOW_MS = 100;
/** Segments to come have theirs laid aside; brokers, logs and the like take some more. */
const DESCRIPTORS_BESIDE = 64 + 64;
/** Below so many clients at once the limit is worth a word. */
const CLIENTS_MIN = 1000;

/** By the number that statfs gives (statfs(2)). */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0xef53: 'ext4',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x2fc12fc1: 'zfs',
  0x01021994: 'tmpfs',
  0x858458f6: 'ramfs',
  0x794c7630: 'overlayfs',
  0x6969: 'nfs',
  0xff534d42: 'cifs',
  0x65735546: 'fuse',
};

type Step = readonly [name: string, examine: (directory: string, config: Config) => Finding];

const STEPS: readonly Step[] = [
  ['file system', examineFileSystem],
  ['free space', examineSpace],
  ['fdatasync', examineSync],
];

export function* examineJournal(config: Config): Generator<Finding> {
  const directory = resolve(config.JOURNAL_DIR);
  const writable = examineDirectory(directory);
  yield writable;
  for (const [name, examine] of STEPS) {
    if (writable.state === 'failed') yield skipped(name, 'journal directory failed');
    else yield guarded(name, () => examine(nearest(directory), config));
  }
  yield guarded('lock', () => examineLock(directory));
  yield guarded('journal size', () => examineSize(config));
  yield guarded('open files', () => examineDescriptors(config));
}

/** A step that cannot be done says why. */
function guarded(step: string, examine: () => Finding): Finding {
  try {
    return examine();
  } catch (error) {
    return failed(step, {
      what: (error as Error).message,
      meaning: 'the server may meet the same',
      advice: 'see what the system says of it',
    });
  }
}

/** The directory, or of its parents the one that is there. */
function nearest(directory: string): string {
  return existsSync(directory) ? directory : nearest(dirname(directory));
}

function examineDirectory(directory: string): Finding {
  const step = 'journal directory';
  const there = nearest(directory);
  const advice = `give this user write access to ${there}, mount it for writing, or set another JOURNAL_DIR`;
  const meaning = 'the server will not start';
  if (!statSync(there).isDirectory()) {
    return failed(step, { what: `${there} is no directory`, meaning, advice });
  }
  try {
    accessSync(there, constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return failed(step, { what: `${there} cannot be written to (${code})`, meaning, advice });
  }
  if (there === directory) return ok(step, directory);
  return ok(step, `${directory} is not there yet; ${there} is, and the server can make it`);
}

function examineFileSystem(directory: string): Finding {
  const step = 'file system';
  const { type } = statfsSync(directory);
  const name = FILE_SYSTEMS[type] ?? `type 0x${type.toString(16)}`;
  if (isVolatile(directory)) {
    return warning(step, {
      what: `${name}, which is in memory`,
      meaning: 'a power cut takes all that Kafka has not confirmed',
      advice: 'put JOURNAL_DIR on a disk',
    });
  }
  if (name === 'overlayfs') {
    return warning(step, {
      what: `${name}, the layer of a container`,
      meaning: 'what Kafka has not confirmed goes with the container',
      advice: 'put JOURNAL_DIR on a volume',
    });
  }
  if (name === 'nfs' || name === 'cifs' || name === 'fuse') {
    return warning(step, {
      what: `${name}, which may be over a network`,
      meaning: 'locks and mapped files may not be what they are on a disk',
      advice: 'put JOURNAL_DIR on a disk of this machine',
    });
  }
  return ok(step, name);
}

function examineSpace(directory: string, config: Config): Finding {
  const step = 'free space';
  const { JOURNAL_DIR, JOURNAL_BYTES } = config;
  const { bavail, bsize } = statfsSync(directory);
  const free = bavail * bsize;
  const used = existsSync(JOURNAL_DIR) ? journalDirectories(JOURNAL_DIR) : [];
  const taken = used.reduce((sum, journal) => sum + segmentBytesIn(journal), 0);
  const missing = JOURNAL_BYTES - taken - free;
  const figures = `${inMiB(free)} MiB free, ${inMiB(taken)} MiB of ${inMiB(JOURNAL_BYTES)} taken`;
  const advice = `free ${inMiB(Math.max(missing, shareOf(config) - free))} MiB, or set a smaller JOURNAL_BYTES`;
  // A journal that has served already starts; a new one wants room for all of its share.
  const hasNewcomer = journalsToBe(config).some((journal) => !used.includes(journal));
  if (hasNewcomer && shareOf(config) > free) {
    return failed(step, { what: figures, meaning: 'the server will not start', advice });
  }
  if (missing <= 0) return ok(step, figures);
  return warning(step, {
    what: figures,
    meaning: 'the journal is full before JOURNAL_BYTES',
    advice,
  });
}

/** Directories of the journals that a start wants. */
function journalsToBe(config: Config): string[] {
  const workers = workersOf(config);
  if (workers === 1) return [config.JOURNAL_DIR];
  return Array.from({ length: workers }, (_, index) =>
    join(config.JOURNAL_DIR, `worker-${index + 1}`),
  );
}

function segmentBytesIn(journal: string): number {
  const sizes = readdirSync(journal)
    .filter((name) => name.endsWith('.segment'))
    .map((name) => statSync(join(journal, name)).size);
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

function inMiB(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}

function examineSync(directory: string, { JOURNAL_SYNC_MS }: Config): Finding {
  const step = 'fdatasync';
  const path = join(directory, `.doctor-${process.pid}`);
  const descriptor = openSync(path, 'wx');
  try {
    const times = Array.from({ length: SYNCS }, () => timedSync(descriptor)).toSorted(
      (a, b) => a - b,
    );
    const median = times[SYNCS >> 1] ?? 0;
    const figures = `${median.toFixed(1)} ms in the middle, ${times.at(-1)?.toFixed(1)} ms at worst, of ${SYNCS}`;
    if (median <= Math.min(SYNC_SLOW_MS, JOURNAL_SYNC_MS)) return ok(step, figures);
    return warning(step, {
      what: figures,
      meaning: `a power cut takes that much more than JOURNAL_SYNC_MS=${JOURNAL_SYNC_MS}, and batches wait for it`,
      advice: 'put JOURNAL_DIR on a faster disk, or one with less to do',
    });
  } finally {
    closeSync(descriptor);
    unlinkSync(path);
  }
}

function timedSync(descriptor: number): number {
  writeSync(descriptor, Buffer.alloc(SYNC_BYTES, 1), 0, SYNC_BYTES, 0);
  const since = performance.now();
  fdatasyncSync(descriptor);
  return performance.now() - since;
}

function examineLock(directory: string): Finding {
  const step = 'lock';
  if (!existsSync(directory)) return ok(step, 'free');
  const pid = findServer(directory);
  return ok(step, pid === undefined ? 'free' : `a server has it (process ${pid})`);
}

function examineSize(config: Config): Finding {
  const step = 'journal size';
  try {
    const segmentBytes = segmentBytesFor(shareOf(config), config.BATCH_BYTES);
    const count = Math.floor(shareOf(config) / segmentBytes);
    return ok(step, `${workersOf(config)} × ${count} segments of ${segmentBytes} bytes`);
  } catch (error) {
    const [what = '', advice = ''] = (error as Error).message.split(/\. (Set .*)/);
    return failed(step, { what, meaning: 'the server will not start', advice });
  }
}

function shareOf(config: Config): number {
  return Math.floor(config.JOURNAL_BYTES / workersOf(config));
}

/** As this process has it: a server started by somebody else may have another. */
function examineDescriptors(config: Config): Finding {
  const step = 'open files';
  const limits = '/proc/self/limits';
  if (!existsSync(limits)) return skipped(step, 'this system does not tell');
  const [, soft = ''] = /^Max open files\s+(\S+)/m.exec(readFileSync(limits, 'utf8')) ?? [];
  if (soft === 'unlimited') return ok(step, soft);
  const segments = Math.ceil(
    shareOf(config) / segmentBytesFor(shareOf(config), config.BATCH_BYTES),
  );
  const needed = segments + DESCRIPTORS_BESIDE;
  const left = Number(soft) - needed;
  const what = `${soft} for each process, ${needed} of them for a full journal`;
  if (left >= CLIENTS_MIN) return ok(step, `${what}, ${left} for clients`);
  const advice = `raise it (ulimit -n, LimitNOFILE) to ${needed + CLIENTS_MIN} or more`;
  return left > 0
    ? warning(step, { what, meaning: `only ${left} clients can be connected at once`, advice })
    : failed(step, { what, meaning: 'the journal cannot grow to JOURNAL_BYTES', advice });
}
