// One variant running: a fresh process on the server's core, from start to flushed end, with the
// account of what it answered and what it may have answered without our knowing.
//
// Nobody is timed before the answer was checked. A contestant knows nothing of Kafka but the
// addresses it passes on; only its own process is ever signalled, by pid.

import { closeSync, mkdirSync, openSync } from 'node:fs';
import { onServerCore } from './cores.ts';
import { cpuTime, memory, processesOf, type CpuTime, type Memory } from './proc.ts';
import type { BenchKafka } from './kafka.ts';
import { topicOf, type Variant } from './variants.ts';
import { openLoop, type SteadyLoad } from './open-loop.ts';
import { burst, type Burst, type LoadShape, shapes } from './wrk.ts';

/** Should the bench be killed, the kernel ends its servers. setpriv becomes the server itself. */
const leash = Bun.which('setpriv') === null ? [] : ['setpriv', '--pdeathsig', 'KILL'];
const NEWLINE = 0x0a;
const readyMs = 30_000;
/** The server's own SHUTDOWN_MS default of 10 s, and room to notice. */
const stopMs = 15_000;

export class Contestant implements AsyncDisposable {
  readonly variant: Variant;
  readonly url: string;
  /** Answers seen: each needs its record. */
  answered = 0;
  /** Requests sent whose answer nobody waited for: each may have a record. */
  unknown = 0;
  readonly #process: Bun.Subprocess;
  readonly #dir: string;
  readonly #logFile: string;
  #paused = false;
  /** Ends a burst that is still running when the server is stopped early. */
  readonly #load = new AbortController();
  #stopping: Promise<string | null> | undefined;

  /** The stack ends it when the run is cut short; once that has happened nobody may join. */
  static start(
    stack: AsyncDisposableStack,
    variant: Variant,
    brokers: string,
    dir: string,
  ): Contestant {
    if (stack.disposed) throw new Error('the run was cut short');
    return stack.use(new Contestant(variant, brokers, dir));
  }

  private constructor(variant: Variant, brokers: string, dir: string) {
    const port = freePort();
    const own = `${dir}/${variant.name}`;
    mkdirSync(own, { recursive: true });
    this.variant = variant;
    this.url = `http://127.0.0.1:${port}/`;
    this.#dir = own;
    this.#logFile = `${own}/output.log`;
    // A pipe would have to be drained by us while we measure; a file takes whatever comes.
    const output = openSync(this.#logFile, 'a');
    this.#process = Bun.spawn([...leash, ...onServerCore(variant.command(own, port))], {
      // Its own directory: a variant that drops files beside itself drops them here.
      cwd: own,
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        PORT: `${port}`,
        KAFKA_BROKERS: brokers,
        KAFKA_TOPIC: topicOf(variant),
        ...variant.env(own),
      },
      stdin: 'ignore',
      stdout: output,
      stderr: output,
    });
    closeSync(output);
  }

  /** Waits until it answers; throws when the answer is not the redirect it should be. */
  async ready(): Promise<void> {
    const deadline = performance.now() + readyMs;
    while (!(await this.#answers())) {
      await this.assertAlive();
      if (performance.now() > deadline) {
        throw new Error(`did not answer within ${readyMs / 1_000} s: ${await this.#lastWords()}`);
      }
      await Bun.sleep(50);
    }
  }

  /** Takes no part in what happens until `resume`: its timers must not run on the core of another. */
  pause(): void {
    this.#signalAll('SIGSTOP');
    this.#paused = true;
  }

  resume(): void {
    if (this.#paused) this.#signalAll('SIGCONT');
    this.#paused = false;
  }

  /** As a crash. */
  async kill(): Promise<void> {
    this.#signalAll('SIGKILL');
    await this.#process.exited;
  }

  /** How many records there are where it puts them. */
  async records(kafka: BenchKafka): Promise<number> {
    if (this.variant.log !== 'file') return await kafka.records(topicOf(this.variant));
    const bytes = await Bun.file(`${this.#dir}/access.log`).bytes();
    let lines = 0;
    for (const byte of bytes) if (byte === NEWLINE) lines++;
    return lines;
  }

  async load(seconds: number, shape: LoadShape = shapes.keepAlive): Promise<Burst> {
    await this.assertAlive();
    this.unknown += shape.connections;
    const result = await burst(this.url, seconds, shape, this.#load.signal);
    this.answered += result.requests;
    if (result.bad > 0) throw new Error(`${result.bad} answers with a status above 399`);
    await this.assertAlive();
    return result;
  }

  /** Load at a fixed rate; every request is answered when it resolves. */
  async steadyLoad(load: {
    rate: number;
    seconds: number;
    connections: number;
  }): Promise<SteadyLoad> {
    await this.assertAlive();
    const result = await openLoop(this.url, load, this.#load.signal);
    this.answered += result.requests;
    return result;
  }

  cpuTime(): CpuTime {
    return cpuTime(this.#process.pid);
  }

  memory(): Memory {
    return memory(this.#process.pid);
  }

  async assertAlive(): Promise<void> {
    if (!ended(this.#process)) return;
    throw new Error(`ended by itself (${endOf(this.#process)}): ${await this.#lastWords()}`);
  }

  /** SIGTERM and the flush behind it; null when it ended in time, else what went wrong. */
  stop(): Promise<string | null> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<string | null> {
    this.#load.abort();
    this.resume();
    if (!ended(this.#process)) {
      this.#process.kill('SIGTERM');
      const inTime = await Promise.race([
        this.#process.exited.then(() => true),
        Bun.sleep(stopMs).then(() => false),
      ]);
      if (!inTime) {
        await this.kill();
        return `did not end within ${stopMs / 1_000} s of SIGTERM`;
      }
    }
    // A program without a handler is ended by the signal, one with a handler exits 0.
    if (this.#process.exitCode === 0 || this.#process.signalCode === 'SIGTERM') return null;
    return `ended with ${endOf(this.#process)}: ${await this.#lastWords()}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #signalAll(signal: NodeJS.Signals): void {
    if (ended(this.#process)) return;
    for (const pid of processesOf(this.#process.pid)) process.kill(pid, signal);
  }

  async #answers(): Promise<boolean> {
    let response: Response;
    try {
      response = await fetch(this.url, {
        redirect: 'manual',
        headers: { Connection: 'close' },
        signal: AbortSignal.timeout(1_000),
      });
    } catch (error) {
      if ((error as Error).name === 'TimeoutError') this.unknown++;
      return false;
    }
    this.answered++;
    const location = response.headers.get('Location');
    if (response.status !== 301 || location !== 'http://google.com') {
      throw new Error(`answers ${response.status} with Location ${location}`);
    }
    return true;
  }

  async #lastWords(): Promise<string> {
    const output = await Bun.file(this.#logFile).text();
    return output.trim().split('\n').slice(-5).join('\n') || 'it printed nothing';
  }
}

function ended(child: Bun.Subprocess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function endOf(child: Bun.Subprocess): string {
  return child.signalCode === null ? `exit code ${child.exitCode}` : `${child.signalCode}`;
}

/** Somebody else may take it before the server does; the server then fails loudly and the row says so. */
export function freePort(): number {
  using listener = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
  return listener.port;
}
