// The real program, `bun run src/server.ts`, as a process of its own: started with nothing but the
// options a test names, on free ports, found by its start line. Invariant: it ends with the scope
// (`await using`), and on Linux with the test process, however that ends. Only its own pid is
// ever signalled.

import { join } from 'node:path';
import type { Subprocess } from 'bun';
import { waitFor } from './wait-for.ts';

const REPOSITORY = join(import.meta.dir, '../..');
/** `setpriv` becomes the program itself, so the pid is hoplog's. */
const LEASH = Bun.which('setpriv') === null ? [] : ['setpriv', '--pdeathsig', 'KILL'];
/** HOPLOG_PROGRAM names a compiled binary to be tested instead of the source. */
const BINARY = process.env['HOPLOG_PROGRAM'];
const PROGRAM = BINARY === undefined ? [process.execPath, 'run', 'src/server.ts'] : [BINARY];
const START_MAX_MS = 20_000;
const DRAIN_MAX_MS = 60_000;
const END_MAX_MS = 15_000;

/** Options as hoplog's environment spells them. */
export type Options = Readonly<Record<string, string | number>>;

/** A line of the server's log. */
export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface Ended {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Starts `bun run src/server.ts ARGS` with `options` as its whole environment, by way of `wrapper`,
 * a command that becomes the command behind it.
 */
export function spawnHoplog(
  args: readonly string[],
  options: Options,
  wrapper: readonly string[] = [],
) {
  const env = Object.entries(options).map(([name, value]) => [name, String(value)] as const);
  return Bun.spawn([...wrapper, ...LEASH, ...PROGRAM, ...args], {
    cwd: REPOSITORY,
    // NODE_ENV=test, which bun test sets, must not reach the program.
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...Object.fromEntries(env) },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
}

/** Runs a command of hoplog to its end; one that does not end is ended, and has no exit code of ours. */
export async function runHoplog(args: readonly string[], options: Options): Promise<Ended> {
  const child = spawnHoplog(args, options);
  using _limit = killAfter(child, END_MAX_MS);
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { exitCode, stdout, stderr };
}

export class Server implements AsyncDisposable {
  /** Everything it wrote to stderr so far, line by line. */
  readonly lines: string[] = [];
  /** Everything it wrote to stdout; complete once it has ended. */
  readonly stdout: Promise<string>;
  readonly #child: Subprocess<'ignore', 'pipe', 'pipe'>;
  readonly #reading: Promise<void>;
  #url = '';
  #admin = '';

  /** Waits for the start line. Ports are free ones and the address is local, unless named. */
  static async start(options: Options, wrapper: readonly string[] = []): Promise<Server> {
    const server = new Server({ HOST: '127.0.0.1', PORT: 0, ADMIN_PORT: 0, ...options }, wrapper);
    const started = () => server.log.find(({ url }) => url !== undefined);
    try {
      await waitFor(() => started() !== undefined || server.ended, {
        timeoutMs: START_MAX_MS,
        what: 'the start line of hoplog',
        intervalMs: 5,
      });
    } catch (error) {
      await server.kill();
      throw error;
    }
    const line = started();
    if (!line) throw new Error(`hoplog did not start: ${server.lines.join('\n')}`);
    server.#url = String(line['url']);
    server.#admin = String(line['admin']);
    return server;
  }

  private constructor(options: Options, wrapper: readonly string[]) {
    this.#child = spawnHoplog([], options, wrapper);
    this.stdout = this.#child.stdout.text();
    this.#reading = readLines(this.#child.stderr, this.lines);
  }

  get url(): string {
    return this.#url;
  }

  get admin(): string {
    return this.#admin;
  }

  get pid(): number {
    return this.#child.pid;
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** The lines of stderr that are log lines; whatever else is there is noise, see `noise`. */
  get log(): LogLine[] {
    return this.lines.flatMap((line) => parseLogLine(line) ?? []);
  }

  get noise(): string[] {
    return this.lines.filter((line) => parseLogLine(line) === undefined);
  }

  /** SIGKILL; resolves once the process is gone and all it wrote is read. */
  async kill(): Promise<void> {
    await this.stop('SIGKILL');
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.ended) this.#child.kill(signal);
  }

  /** Asks it to end; resolves with the exit code, which is 128 + n where signal n ended it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    this.signal(signal);
    return await this.exited();
  }

  async exited(): Promise<number> {
    const exitCode = await this.#child.exited;
    await this.#reading;
    return exitCode;
  }

  /** What `/ready` says. */
  async ready(): Promise<{ status: number; reason: string | undefined }> {
    const response = await fetch(`${this.#admin}/ready`);
    const { reasons } = (await response.json()) as { reasons?: readonly string[] };
    return { status: response.status, reason: reasons?.join('; ') };
  }

  /** All samples of `/metrics`, by name with labels as Prometheus prints them. */
  async metrics(): Promise<ReadonlyMap<string, number>> {
    const response = await fetch(`${this.#admin}/metrics`);
    const samples = (await response.text()).split('\n').filter((line) => /^[a-z]/.test(line));
    return new Map(
      samples.map((line) => {
        const at = line.lastIndexOf(' ');
        return [line.slice(0, at), Number(line.slice(at + 1))] as const;
      }),
    );
  }

  /** One sample; throws where there is none of that name. */
  async metric(name: string): Promise<number> {
    const value = (await this.metrics()).get(name);
    if (value === undefined) throw new Error(`/metrics has no ${name}`);
    return value;
  }

  /** Sendings of batches that failed, whatever became of these. */
  async failures(): Promise<number> {
    const metrics = [...(await this.metrics())];
    const failed = metrics.filter(([name]) => name.startsWith('hoplog_kafka_errors_total{'));
    return failed.reduce((sum, [, count]) => sum + count, 0);
  }

  /** Waits until Kafka has acknowledged all that is journalled. */
  async delivered(timeoutMs = DRAIN_MAX_MS): Promise<void> {
    await waitFor(async () => (await this.metric('hoplog_journal_backlog_bytes')) === 0, {
      timeoutMs,
      what: 'the backlog to reach Kafka',
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

function killAfter(child: Subprocess, ms: number): Disposable {
  const timer = setTimeout(() => child.kill('SIGKILL'), ms);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

async function readLines(stream: ReadableStream<Uint8Array>, into: string[]): Promise<void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    into.push(...lines);
  }
  if (rest !== '') into.push(rest);
}

function parseLogLine(line: string): LogLine | undefined {
  if (!line.startsWith('{')) return undefined;
  return JSON.parse(line) as LogLine;
}
