// Load for the oracle: raw keep-alive sockets that send each numbered request once. An HTTP client
// would send a request again when its connection breaks, and so make the duplicates it looks for;
// here a connection that ends takes its unanswered requests with it and is never opened again.

import type { Socket } from 'bun';
import type { Oracle } from './oracle.ts';
import { waitFor } from './wait-for.ts';

const ANSWER_MAX_MS = 10_000;
const PACE_MS = 5;

export interface LoadOptions {
  readonly connections?: number;
  /** Requests a connection may have unanswered: HTTP pipelining where it is more than 1. */
  readonly depth?: number;
  /** At most so many requests a second over all connections; as fast as answers come if not given. */
  readonly perSecond?: number;
}

export class Load implements AsyncDisposable {
  /** Longest time a request waited for its answer, ms. */
  slowestMs = 0;
  /** Requests whose connection ended before their answer. */
  interrupted = 0;
  #waitsMs: number[] = [];
  readonly #url: URL;
  readonly #oracle: Oracle;
  readonly #options: Required<LoadOptions>;
  readonly #connections = new Set<Connection>();
  readonly #startedAt = performance.now();
  readonly #pacer: Timer | undefined;
  #firstAnswerAt: number | undefined;
  #failure: Error | undefined;
  #sent = 0;
  #stopped = false;

  /** Connects to `url` and sends until it is stopped or all its connections have ended. */
  static async start(url: string, oracle: Oracle, options: LoadOptions = {}): Promise<Load> {
    const load = new Load(new URL(url), oracle, options);
    const { connections } = load.#options;
    await Promise.all(Array.from({ length: connections }, () => load.#connect()));
    load.#sendAll();
    return load;
  }

  private constructor(url: URL, oracle: Oracle, options: LoadOptions) {
    this.#url = url;
    this.#oracle = oracle;
    this.#options = { connections: 8, depth: 1, perSecond: Infinity, ...options };
    if (this.#options.perSecond === Infinity) return;
    this.#pacer = setInterval(() => this.#sendAll(), PACE_MS);
  }

  /** Time since the first answer; 0 before it. */
  get lastedMs(): number {
    return this.#firstAnswerAt === undefined ? 0 : performance.now() - this.#firstAnswerAt;
  }

  /** Connections still open. */
  get connections(): number {
    return this.#connections.size;
  }

  /** How long the requests waited that were answered since the last call. */
  takeWaitsMs(): number[] {
    const waits = this.#waitsMs;
    this.#waitsMs = [];
    return waits;
  }

  /** Waits until load has been on for so long since the first answer. */
  async lasts(ms: number): Promise<void> {
    await waitFor(() => this.lastedMs >= ms, {
      timeoutMs: ms + ANSWER_MAX_MS,
      what: `${ms} ms of load`,
      intervalMs: 1,
    });
  }

  /** Sends no more, and waits for the answers that are due; the connections stay open. */
  async pause(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#pacer);
    const settled = () => [...this.#connections].every((connection) => connection.waiting === 0);
    await waitFor(settled, { timeoutMs: ANSWER_MAX_MS, what: 'the last answers' });
    if (this.#failure) throw this.#failure;
  }

  /** One request more of a load that is paused, on a new connection; resolves with its answer. */
  async one(): Promise<void> {
    // Those that were silent for a minute have been closed.
    const connection = await this.#connect();
    if (!connection.send(this.#oracle)) throw new Error('the new connection has ended');
    await this.pause();
  }

  /** Sends no more, waits for the answers that are due, and closes the connections. */
  async stop(): Promise<void> {
    await this.pause();
    await this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#pacer);
    for (const connection of this.#connections) connection.end();
  }

  async #connect(): Promise<Connection> {
    const connection = new Connection({
      answer: (number, status, waitedMs) => {
        this.#firstAnswerAt ??= performance.now();
        this.slowestMs = Math.max(this.slowestMs, waitedMs);
        this.#waitsMs.push(waitedMs);
        this.#oracle.noteAnswer(number, status);
      },
      roomy: () => this.#fill(connection),
      failed: (error) => {
        this.#failure ??= error;
        connection.end();
      },
      ended: (unanswered) => {
        this.interrupted += unanswered;
        this.#connections.delete(connection);
      },
    });
    const { hostname, port } = this.#url;
    await connection.open(hostname, Number(port));
    this.#connections.add(connection);
    return connection;
  }

  #sendAll(): void {
    for (const connection of this.#connections) this.#fill(connection);
  }

  #fill(connection: Connection): void {
    while (!this.#stopped && connection.waiting < this.#options.depth && this.#mayGo()) {
      if (!connection.send(this.#oracle)) return;
      this.#sent++;
    }
  }

  #mayGo(): boolean {
    const { perSecond } = this.#options;
    return this.#sent < ((performance.now() - this.#startedAt) / 1000) * perSecond + 1;
  }
}

interface ConnectionEvents {
  answer(number: number, status: number, waitedMs: number): void;
  /** An answer was read: there is room for another request. */
  roomy(): void;
  /** The server said something that is no answer of its. */
  failed(error: Error): void;
  ended(unanswered: number): void;
}

class Connection {
  readonly #events: ConnectionEvents;
  readonly #waiting: { number: number; sentAt: number }[] = [];
  #socket: Socket | undefined;
  #received = '';

  constructor(events: ConnectionEvents) {
    this.#events = events;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  async open(hostname: string, port: number): Promise<void> {
    this.#socket = await Bun.connect({
      hostname,
      port,
      socket: {
        data: (_socket, bytes) => this.#receive(bytes.toString('latin1')),
        close: () => this.#close(),
        error: () => this.#close(),
      },
    });
  }

  /** False where the connection has ended. */
  send(oracle: Oracle): boolean {
    const socket = this.#socket;
    if (!socket) return false;
    const { number, head } = oracle.issue(socket.localPort);
    this.#waiting.push({ number, sentAt: performance.now() });
    const written = socket.write(head);
    // A few hundred bytes fit into an idle socket; a torn request would be one that was not issued.
    if (written === head.length) return true;
    this.end();
    return false;
  }

  end(): void {
    this.#socket?.terminate();
    this.#close();
  }

  /** Bun passes what a socket handler throws to `error`, where it would look like a lost connection. */
  #receive(text: string): void {
    try {
      this.#read(text);
    } catch (error) {
      this.#events.failed(error as Error);
    }
  }

  #read(text: string): void {
    this.#received += text;
    for (let end = this.#headEnd(); end >= 0; end = this.#headEnd()) {
      const head = this.#received.slice(0, end);
      this.#received = this.#received.slice(end + 4);
      const answered = this.#waiting.shift();
      if (!answered) throw new Error(`an answer nobody asked for: ${head}`);
      if (!/\r\ncontent-length: 0(\r|$)/i.test(head))
        throw new Error(`not an empty answer: ${head}`);
      const status = Number(head.slice(9, 12));
      this.#events.answer(answered.number, status, performance.now() - answered.sentAt);
    }
    this.#events.roomy();
  }

  #headEnd(): number {
    return this.#received.indexOf('\r\n\r\n');
  }

  #close(): void {
    if (!this.#socket) return;
    this.#socket = undefined;
    this.#events.ended(this.#waiting.length);
    this.#waiting.length = 0;
  }
}
