// A second server, like the one under test and under the same load, to which nothing is done. Whether
// redirects are slower for a fault is judged by pairs of moments: what else this machine has to do
// slows down both, while a time measured before the fault says nothing of what is busy now.

import type { KafkaCluster } from './kafka.ts';
import { Load, type LoadOptions } from './load-client.ts';
import { Oracle } from './oracle.ts';
import { LOAD, UNDER_LOAD } from './scenario.ts';
import { type Options, Server } from './server.ts';
import { tempDir } from './temp-dir.ts';
import { waitFor } from './wait-for.ts';

const WINDOW_MS = 150;
const WINDOWS_MIN = 9;
/** Beyond twice as slow, and what a timer may be off. */
const SLOWER_MAX = 2;
const TIMER_NOISE_MS = 5;
const JUDGED_MAX_MS = 30_000;

/** Of the answers that came in one window; undefined where none did. */
interface Window {
  readonly p99Ms: number | undefined;
  readonly controlP99Ms: number;
}

export class Control implements AsyncDisposable {
  readonly server: Server;
  readonly load: Load;
  readonly #stack: AsyncDisposableStack;

  /** On a topic of its own, which is made. */
  static async start(
    kafka: KafkaCluster,
    topic: string,
    options: Options = {},
    load: LoadOptions = LOAD,
  ): Promise<Control> {
    await kafka.createTopic({ name: topic, partitions: 3 });
    await using stack = new AsyncDisposableStack();
    const { path: JOURNAL_DIR } = stack.use(tempDir());
    const target = { KAFKA_BROKERS: kafka.brokers, KAFKA_TOPIC: topic, JOURNAL_DIR };
    const server = stack.use(await Server.start({ ...UNDER_LOAD, ...target, ...options }));
    const ownLoad = stack.use(await Load.start(server.url, new Oracle(), load));
    return new Control(server, ownLoad, stack.move());
  }

  private constructor(server: Server, load: Load, stack: AsyncDisposableStack) {
    this.server = server;
    this.load = load;
    this.#stack = stack;
  }

  /**
   * Waits until the p99 of `load` was about that of the control's or better in most windows of the last
   * `forMs`. What is slower for a reason is so in most windows, and stays so; chance passes.
   */
  async isNoFasterThan(load: Load, { forMs }: { readonly forMs: number }): Promise<void> {
    const count = Math.max(WINDOWS_MIN, Math.ceil(forMs / WINDOW_MS));
    const windows: Window[] = [];
    const mostAreGood = async (): Promise<boolean> => {
      const window = await this.#nextWindow(load);
      if (window) windows.push(window);
      const last = windows.slice(-count);
      return last.length === count && last.filter(isGood).length > count / 2;
    };
    await this.#nextWindow(load); // what was answered before
    try {
      await waitFor(mostAreGood, {
        timeoutMs: forMs + JUDGED_MAX_MS,
        what: 'redirects as fast as the control’s in most windows',
        intervalMs: 0,
      });
    } finally {
      process.stderr.write(
        `p99 in ms, and the control's: ${windows.slice(-count).map(textOf).join()}\n`,
      );
    }
  }

  /** Undefined where the control had no answer either. */
  async #nextWindow(load: Load): Promise<Window | undefined> {
    await load.lasts(load.lastedMs + WINDOW_MS);
    const p99Ms = percentile99(load.takeWaitsMs());
    const controlP99Ms = percentile99(this.load.takeWaitsMs());
    return controlP99Ms === undefined ? undefined : { p99Ms, controlP99Ms };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

function isGood({ p99Ms, controlP99Ms }: Window): boolean {
  return p99Ms !== undefined && p99Ms < SLOWER_MAX * controlP99Ms + TIMER_NOISE_MS;
}

function textOf({ p99Ms, controlP99Ms }: Window): string {
  return ` ${p99Ms?.toFixed(1) ?? '-'}/${controlP99Ms.toFixed(1)}`;
}

function percentile99(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.99)];
}
