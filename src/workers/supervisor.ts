// The parent of several workers: starts them on one port, starts again what ends by itself, replaces
// them one by one on SIGUSR2, stops them, and speaks for all on the admin port. It answers no requests
// and has no journal. Should it be killed, its workers notice and end in order.

import type { Logger } from 'pino';
import { type Config, ConfigError, readCommandLine } from '../config.ts';
import { listenAdmin } from '../http/admin.ts';
import { checkHost, claimPort } from '../http/listener.ts';
import { claimServer } from '../journal/journal-lock.ts';
import { backOffMs } from '../kafka/errors.ts';
import { describeServer, SHUTTING_DOWN } from '../service.ts';
import { Crew } from './crew.ts';
import { WorkerProcess } from './worker-process.ts';

/** A worker that served so long is well: its next end is a first one. */
const HEALTHY_MS = 60_000;
const RESTART_MAX_MS = 30_000;
/** Beyond DRAIN_DELAY_MS and SHUTDOWN_MS, until a worker is killed. */
const STOP_MARGIN_MS = 3000;

/** One of the workers, whichever process is it at the moment. */
interface Place {
  readonly worker: number;
  process: WorkerProcess | undefined;
  /** One of its processes has served. */
  isUp: boolean;
  /** Ends in a row. */
  attempt: number;
  restartTimer: Timer | undefined;
}

export class Supervisor {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #claim: Disposable;
  readonly #port: number;
  readonly #places: readonly Place[];
  readonly #crew = new Crew<WorkerProcess>();
  #state: 'starting' | 'running' | 'stopping' = 'starting';
  #replacing = false;
  #exitCode = 0;
  #adminToken: string;

  /** @throws what is unusable, in one line */
  static async start(config: Config, workers: number, log: Logger): Promise<void> {
    await checkHost('HOST', config.HOST);
    if (config.ADMIN_PORT !== 'off') await checkHost('ADMIN_HOST', config.ADMIN_HOST);
    const claim = claimServer(config.JOURNAL_DIR);
    const port = await claimPort(config.HOST, config.PORT);
    const supervisor = new Supervisor(config, { workers, port, claim }, log);
    await supervisor.#start();
  }

  private constructor(
    config: Config,
    { workers, port, claim }: { workers: number; port: number; claim: Disposable },
    log: Logger,
  ) {
    this.#config = config;
    this.#adminToken = config.ADMIN_TOKEN;
    this.#log = log;
    this.#claim = claim;
    this.#port = port;
    this.#places = Array.from({ length: workers }, (_, index) => {
      const nobody = { process: undefined, isUp: false, attempt: 0, restartTimer: undefined };
      return { worker: index + 1, ...nobody };
    });
  }

  async #start(): Promise<void> {
    process.on('SIGTERM', (signal) => void this.#stop(signal));
    process.on('SIGINT', (signal) => void this.#stop(signal));
    process.on('SIGHUP', () => this.#reload());
    process.on('SIGUSR2', () => void this.#replaceAll());
    // The first one alone: what it cannot do none can, and it has said why.
    const [first, ...others] = this.#places;
    if (!first) throw new Error('a server without workers');
    const url = await this.#startFirst(first);
    if (this.#isStopping) return;
    await Promise.all(others.map((place) => this.#startFirst(place)));
    if (this.#isStopping) return;
    const admin = this.#listenAdmin();
    this.#state = 'running';
    const description = describeServer(this.#config, url);
    this.#log.info({ url, admin }, `${description}; ${this.#places.length} workers`);
  }

  get #isStopping(): boolean {
    return this.#state === 'stopping';
  }

  /** A worker that ends before it ever served ends all. */
  async #startFirst(place: Place): Promise<string> {
    const worker = this.#spawn(place);
    place.process = worker;
    const url = await worker.serving;
    place.isUp = url !== undefined;
    if (place.isUp || this.#isStopping) return url ?? '';
    this.#signalAll('SIGKILL');
    return process.exit(await worker.exited);
  }

  #listenAdmin(): string | undefined {
    const { ADMIN_HOST, ADMIN_PORT } = this.#config;
    if (ADMIN_PORT === 'off') return undefined;
    const server = listenAdmin({
      hostname: ADMIN_HOST,
      port: ADMIN_PORT,
      token: () => this.#adminToken,
      troubles: () => (this.#isStopping ? [SHUTTING_DOWN] : this.#crew.troubles()),
      metrics: () => this.#crew.exposition(),
    });
    return server.url.origin;
  }

  #reload(): void {
    for (const worker of this.#crew.members) {
      // One that starts does not hear it yet: the signal would end it.
      void worker.serving.then((url) => url !== undefined && worker.signal('SIGHUP'));
    }
    try {
      this.#adminToken = readCommandLine(process.argv.slice(2)).config.ADMIN_TOKEN;
    } catch (error) {
      // The workers say so, too.
      if (!(error instanceof ConfigError)) throw error;
      this.#log.error({ reason: error.message }, 'SIGHUP: the admin token is not changed');
    }
  }

  /** @throws what the system says, where it gives no process */
  #spawn(place: Place): WorkerProcess {
    const { worker } = place;
    const spawned = new WorkerProcess({ worker, workers: this.#places.length, port: this.#port });
    this.#crew.add(spawned);
    void spawned.exited.then((exitCode) => this.#ended(place, spawned, exitCode));
    return spawned;
  }

  #ended(place: Place, ended: WorkerProcess, exitCode: number): void {
    if (!place.isUp || place.process !== ended) return;
    place.process = undefined;
    if (ended.servedMs > HEALTHY_MS) place.attempt = 0;
    this.#restart(place, { pid: ended.pid, exitCode });
  }

  #restart(place: Place, end: { pid: number; exitCode: number } | { reason: string }): void {
    if (this.#isStopping) return;
    const delayMs = Math.round(backOffMs(++place.attempt, RESTART_MAX_MS));
    const { worker } = place;
    this.#log.error(
      { worker, ...end, delayMs },
      'a worker ended by itself, and will be started again',
    );
    place.restartTimer = setTimeout(() => {
      try {
        place.process = this.#spawn(place);
        this.#crew.restarts++;
      } catch (error) {
        // No process is left, or no memory: the others go on.
        this.#restart(place, { reason: (error as Error).message });
      }
    }, delayMs);
  }

  /** One after the other, so that there is never one too few and at most one too many. */
  async #replaceAll(): Promise<void> {
    if (this.#replacing || this.#state !== 'running') return;
    this.#replacing = true;
    this.#log.info('workers are replaced one by one');
    let replaced = 0;
    for (const place of this.#places) {
      if (!(await this.#replace(place))) break;
      replaced++;
    }
    this.#replacing = false;
    if (this.#state !== 'running') return;
    if (replaced === this.#places.length) this.#log.info('all workers are replaced');
    else this.#log.error({ replaced }, 'a new worker does not serve: the others stay as they are');
  }

  async #replace(place: Place): Promise<boolean> {
    let next: WorkerProcess;
    try {
      next = this.#spawn(place);
    } catch (error) {
      this.#log.error({ reason: (error as Error).message }, 'a new worker gets no process');
      return false;
    }
    if ((await next.serving) === undefined || this.#state !== 'running') return false;
    clearTimeout(place.restartTimer);
    const former = place.process;
    place.process = next;
    if (!former) return true;
    former.leaving = true;
    try {
      await next.ask('take all');
      await former.ask('leave');
      await next.ask('share');
    } catch (error) {
      const reason = (error as Error).message;
      this.#log.warn({ reason }, 'connections that are just being made may be reset');
      former.signal('SIGTERM');
    }
    return true;
  }

  async #stop(signal: NodeJS.Signals): Promise<void> {
    if (this.#isStopping) return this.#stopNow(signal);
    this.#state = 'stopping';
    for (const { restartTimer } of this.#places) clearTimeout(restartTimer);
    this.#signalAll('SIGTERM');
    const { DRAIN_DELAY_MS, SHUTDOWN_MS } = this.#config;
    setTimeout(
      () => {
        this.#log.warn('workers that did not end in time are killed; their journals are kept');
        this.#signalAll('SIGKILL');
      },
      DRAIN_DELAY_MS + SHUTDOWN_MS + STOP_MARGIN_MS,
    );
    await this.#crew.ended();
    this.#claim[Symbol.dispose]();
    this.#log.info('all workers have stopped');
    process.exit(this.#exitCode);
  }

  /** The journals have all that was answered: leaving at once loses nothing. */
  #stopNow(signal: NodeJS.Signals): void {
    this.#exitCode = signal === 'SIGINT' ? 130 : 143;
    this.#signalAll('SIGKILL');
  }

  #signalAll(signal: NodeJS.Signals): void {
    for (const worker of this.#crew.members) worker.signal(signal);
  }
}
