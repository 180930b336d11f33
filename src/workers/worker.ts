// One of several servers on a port, under a supervisor. It does what it is asked over the channel; when
// the channel ends the supervisor is no more, and it delivers what it can and ends, too. A signal may
// come from the supervisor and from a terminal or an init system beside it, so a second one is no hurry:
// that would be SIGKILL.

import type { Logger } from 'pino';
import type { Config, Seat } from '../config.ts';
import { Service } from '../service.ts';
import type { FromWorker, Question, Report, ToWorker } from './messages.ts';

/** @throws what is unusable, in one line */
export async function work(config: Config, seat: Seat, log: Logger): Promise<void> {
  const worker = new Worker(await Service.open(config, log, seat), log);
  worker.start();
}

class Worker {
  readonly #service: Service;
  readonly #log: Logger;
  #ending: Promise<void> | undefined;

  constructor(service: Service, log: Logger) {
    this.#service = service;
    this.#log = log;
  }

  start(): void {
    process.on('message', (message: ToWorker) => void this.#answer(message));
    process.on('disconnect', () => {
      if (!this.#ending) this.#log.warn('the supervisor is gone');
      void this.#end();
    });
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void this.#end());
    process.on('SIGHUP', () => this.#service.reload());
    this.#service.start();
    send({ serving: this.#service.url });
  }

  async #answer({ id, question }: ToWorker): Promise<void> {
    try {
      const report = await this.#obey(question);
      send(report ? { id, report } : { id });
    } catch (error) {
      send({ id, failure: (error as Error).message });
    }
  }

  async #obey(question: Question): Promise<Report | undefined> {
    if (question === 'report') return this.#report();
    if (question === 'leave') await this.#leave();
    else this.#service.takeAll(question === 'take all');
    return undefined;
  }

  async #leave(): Promise<void> {
    await this.#service.leave();
    void this.#service.linger().then(() => this.#end());
  }

  #report(): Report {
    return { troubles: this.#service.troubles, metrics: this.#service.report() };
  }

  /** Once, whoever asks. */
  #end(): Promise<void> {
    this.#ending ??= this.#shutDown();
    return this.#ending;
  }

  async #shutDown(): Promise<void> {
    await this.#service.shutDown();
    send({ last: this.#report() });
    process.exit(0);
  }
}

function send(message: FromWorker): void {
  if (process.connected) process.send?.(message);
}
