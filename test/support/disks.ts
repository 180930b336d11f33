// Disks that fail: file systems in a file, mounted through a loop device, and system calls of a running
// process that return errors or take long (strace). Both need root and Linux: `disksUnavailable` and
// `straceUnavailable` say why not. Nothing of them outlives its scope.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Subprocess } from 'bun';
import { tempDir } from './temp-dir.ts';
import { waitFor } from './wait-for.ts';

const ATTACH_MAX_MS = 10_000;
const DETACH_MAX_MS = 10_000;
const QUIET_MAX_MS = 10_000;

function run(...command: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command]);
  if (exitCode !== 0) throw new Error(`${command.join(' ')}: ${stderr.toString()}`);
  return stdout.toString().trim();
}

export interface Disk extends Disposable {
  /** Where it is mounted. */
  readonly path: string;
}

export interface LoopDisk extends Disk {
  /** The kernel finds the file system damaged: ext4 turns read-only under the writers. */
  turnReadOnly(): void;
  /**
   * What the device holds at one moment, as a power cut leaves it. Whoever writes has to be stopped: it
   * is taken while the device's count of writes stands still, or not at all.
   */
  snapshot(): Promise<Buffer>;
}

export interface LoopDiskOptions {
  readonly bytes: number;
  /**
   * The disk has only so much storage behind it, as a thin volume may: writes beyond that fail when the
   * kernel gets to them, long after the program made them.
   */
  readonly backedBytes?: number;
  /** A snapshot to begin with, instead of an empty file system. */
  readonly snapshot?: Buffer;
}

/** An ext4 of its own. */
export function loopDisk({ bytes, backedBytes = 2 * bytes, snapshot }: LoopDiskOptions): LoopDisk {
  using undo = new DisposableStack();
  const dir = undo.use(tempDir());
  const [storage, path] = [join(dir.path, 'storage'), join(dir.path, 'disk')];
  mkdirSync(storage);
  mkdirSync(path);
  run('mount', '-t', 'tmpfs', '-o', `size=${backedBytes}`, 'none', storage);
  undo.defer(() => run('umount', storage));
  const image = join(storage, 'image');
  if (snapshot) writeFileSync(image, snapshot);
  else {
    run('truncate', '--size', String(bytes), image);
    run('mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image);
  }
  const device = run('losetup', '--find', '--show', image);
  undo.defer(() => run('losetup', '--detach', device));
  run('mount', '-o', 'errors=remount-ro', device, path);
  // A process killed a moment ago may still have it open.
  undo.defer(() => run('umount', '--lazy', path));
  const name = device.slice('/dev/'.length);
  const mounted = undo.move();
  return {
    path,
    snapshot: async () =>
      await waitFor(() => snapshotOf(image, name), {
        timeoutMs: QUIET_MAX_MS,
        what: `${device} to be quiet`,
      }),
    turnReadOnly: () => writeFileSync(`/sys/fs/ext4/${name}/trigger_fs_error`, 'test'),
    [Symbol.dispose]: () => mounted.dispose(),
  };
}

/** A tmpfs with these mount options. */
export function memoryDisk(options: string): Disk {
  const dir = tempDir();
  run('mount', '-t', 'tmpfs', '-o', options, 'none', dir.path);
  return {
    path: dir.path,
    [Symbol.dispose]: () => {
      run('umount', '--lazy', dir.path);
      dir[Symbol.dispose]();
    },
  };
}

/** Undefined = it was being written to meanwhile. */
function snapshotOf(image: string, device: string): Buffer | undefined {
  const before = writesOf(device);
  const bytes = readFileSync(image);
  return before.inFlight === 0 && writesOf(device).count === before.count ? bytes : undefined;
}

/** Documentation/block/stat.rst of the kernel: the fifth number, and the ninth. */
function writesOf(device: string): { count: number; inFlight: number } {
  const fields = readFileSync(`/sys/block/${device}/stat`, 'utf8').trim().split(/\s+/).map(Number);
  return { count: fields[4]!, inFlight: fields[8]! };
}

/** Why there are no loop disks here; undefined where there are. */
export function disksUnavailable(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting needs root';
  try {
    using _disk = loopDisk({ bytes: 16 * 2 ** 20 });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

export interface Injection extends AsyncDisposable {
  /** Calls that it has hit so far. */
  hits(): number;
}

/**
 * From now on the `calls` of process `pid` and all its threads do what `fault` says, in strace's words:
 * `error=EIO`, `delay_enter=2s`. Ends with its scope.
 * @param paths only calls on these files
 */
export async function inject(
  pid: number,
  calls: string,
  fault: string,
  paths: readonly string[] = [],
): Promise<Injection> {
  const dir = tempDir();
  const output = join(dir.path, 'calls');
  const only = paths.flatMap((path) => ['--trace-path', path]);
  const what = ['-e', `trace=${calls}`, '-e', `inject=${calls}:${fault}`, ...only];
  const strace = Bun.spawn(['strace', '-f', '-p', String(pid), '-o', output, ...what], {
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
  });
  try {
    await waitFor(() => isTraced(pid, strace), {
      timeoutMs: ATTACH_MAX_MS,
      what: `strace to attach to ${pid}`,
    });
  } catch (error) {
    strace.kill();
    dir[Symbol.dispose]();
    throw new Error(await strace.stderr.text(), { cause: error });
  }
  return {
    hits: () => readFileSync(output, 'latin1').match(/\((?:INJECTED|DELAYED)\)/g)?.length ?? 0,
    [Symbol.asyncDispose]: async () => {
      strace.kill();
      await Promise.race([strace.exited, deadline()]);
      dir[Symbol.dispose]();
    },
  };
}

function deadline(): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  setTimeout(() => reject(new Error('strace does not let go')), DETACH_MAX_MS).unref();
  return promise;
}

function isTraced(pid: number, strace: Subprocess): boolean {
  if (strace.exitCode !== null) throw new Error('strace has ended');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/TracerPid:\s*(\d+)/.exec(status)?.[1]) === strace.pid;
}

/** Why system calls cannot be made to fail here; undefined where they can. */
export function straceUnavailable(): string | undefined {
  if (Bun.which('strace') === null) return 'there is no strace';
  const probe = Bun.spawnSync(['strace', '-o', '/dev/null', '-e', 'inject=sync:error=EIO', 'true']);
  return probe.exitCode === 0 ? undefined : `strace: ${probe.stderr.toString().trim()}`;
}
