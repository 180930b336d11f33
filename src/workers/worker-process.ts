// One worker as its supervisor sees it: a child process that serves from some moment on, answers
// questions, and ends. Decides nothing.

import type { Subprocess } from 'bun';
import { environmentOf, type Seat } from '../config.ts';
import type { FromWorker, Question, Report, ToWorker } from './messages.ts';

type Answer = Extract<FromWorker, { id: number }>;

export class WorkerProcess {
  readonly seat: Seat;
  /** Url where it serves; undefined = it ended before. */
  readonly serving: Promise<string | undefined>;
  /** Exit code; 128 + n where signal n ended it. */
  readonly exited: Promise<number>;
  /** Its latest. */
  report: Report | undefined;
  /** It has a successor: its end is wanted. */
  leaving = false;
  readonly #child: Subprocess;
  readonly #answers = new Map<number, (answer: Answer | undefined) => void>();
  #questions = 0;
  #reporting: Promise<Report | undefined> | undefined;
  /** On performance.now()'s clock. */
  #servingSince: number | undefined;
  #ended = false;

  constructor(seat: Seat) {
    this.seat = seat;
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    this.serving = promise;
    this.#child = Bun.spawn(commandOfThisProgram(), {
      env: environmentOf(seat),
      stdio: ['ignore', 'inherit', 'inherit'],
      ipc: (message: FromWorker) => {
        if ('serving' in message) {
          this.#servingSince = performance.now();
          resolve(message.serving);
        } else if ('last' in message) this.report = message.last;
        else this.#answers.get(message.id)?.(message);
      },
    });
    this.exited = this.#child.exited.then((exitCode) => {
      this.#ended = true;
      resolve(undefined);
      for (const answer of this.#answers.values()) answer(undefined);
      return exitCode;
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  get state(): 'starting' | 'serving' | 'leaving' | 'ended' {
    if (this.#ended) return 'ended';
    if (this.leaving) return 'leaving';
    return this.#servingSince === undefined ? 'starting' : 'serving';
  }

  get servedMs(): number {
    return this.#servingSince === undefined ? 0 : performance.now() - this.#servingSince;
  }

  /** Resolves when it has done so, or has ended. @throws why it could not */
  async ask(question: Question): Promise<void> {
    const answer = await this.#ask(question);
    if (answer?.failure !== undefined) throw new Error(answer.failure);
  }

  /** Its state now; undefined when it does not say within `timeoutMs`. */
  async freshReport(timeoutMs: number): Promise<Report | undefined> {
    this.#reporting ??= this.#ask('report').then((answer) => {
      this.#reporting = undefined;
      if (answer?.report) this.report = answer.report;
      return answer?.report;
    });
    return Promise.race([this.#reporting, Bun.sleep(timeoutMs).then(() => undefined)]);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async #ask(question: Question): Promise<Answer | undefined> {
    if (this.state === 'starting' || this.state === 'ended') return undefined;
    const id = ++this.#questions;
    const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
    this.#answers.set(id, resolve);
    this.#child.send({ id, question } satisfies ToWorker);
    const answer = await promise;
    this.#answers.delete(id);
    return answer;
  }
}

/** As this process was started; a compiled program carries its source inside. */
function commandOfThisProgram(): string[] {
  const args = process.argv.slice(2);
  if (Bun.main.startsWith('/$bunfs/')) return [process.execPath, ...args];
  return [process.execPath, ...process.execArgv, Bun.main, ...args];
}
