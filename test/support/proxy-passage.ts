// One client's connection through the fault proxy to one node: requests go on and answers come back frame
// by frame, in order, except where a fault says otherwise. What the faults are stands at `Mischief`; which
// request meets one, and what the link is like, the proxy decides (fault-proxy.ts).

import type { Socket } from 'node:net';
import { frameOf, produceAnswer } from './fake-answers.ts';
import {
  correlationIdOf,
  FrameSplitter,
  type Metadata,
  readRequest,
  rewriteMetadata,
  type Seen,
  withErrorCode,
  withThrottle,
} from './proxy-frames.ts';

/** What happens to one request and its answer. */
export type Mischief =
  /** The connection ends as the request comes: the broker sees nothing of it. */
  | { readonly kind: 'cut' }
  /** The connection ends when half of it has gone: for the broker no request, or half of one. */
  | { readonly kind: 'half a request' }
  | { readonly kind: 'half an answer' }
  /** A bit of its last byte arrives as it was not sent: a batch whose CRC is wrong. */
  | { readonly kind: 'bit flipped' }
  /**
   * The broker did what was asked; the connection ends instead of the answer. With a `count`, answers are
   * held until there are so many, and lost together.
   */
  | { readonly kind: 'answer lost'; readonly count?: number }
  /** The broker did what was asked; its answer never comes, and the connection stays. */
  | { readonly kind: 'silence' }
  /** Answered with the code. Produce does not reach the broker; the other APIs do, which keep nothing. */
  | { readonly kind: 'refused'; readonly code: number }
  /** The broker did what was asked (a batch is in the log), and the answer has the code all the same. */
  | { readonly kind: 'answered'; readonly code: number }
  /** Produce answers with this throttle time. */
  | { readonly kind: 'throttled'; readonly throttleMs: number }
  /** The answer comes so much later, and what is behind it too. */
  | { readonly kind: 'late'; readonly ms: number }
  /** Other bytes come instead of the answer's frame (its length in front). */
  | { readonly kind: 'garbled'; readonly garble: (answer: Buffer) => Buffer }
  /** Of Metadata: changed in place. */
  | { readonly kind: 'metadata'; readonly change: (metadata: Metadata) => void };

type OnRequest = Extract<Mischief, { kind: 'cut' | 'half a request' | 'bit flipped' }>;
type OnAnswer = Exclude<Mischief, OnRequest>;

function happensToAnswers(mischief: Mischief): mischief is OnAnswer {
  return !['cut', 'half a request', 'bit flipped'].includes(mischief.kind);
}

/** A fault that a request has met. */
export interface Met {
  readonly mischief: Mischief;
  /** It has happened as often as it should, since the request met it. */
  readonly isOver: boolean;
  /** It happens now. */
  hit(count?: number): void;
}

/** What a passage asks the proxy. */
export interface Rules {
  /** What the request meets; called once for each. */
  meet(seen: Seen, node: number): Met | undefined;
  /** Where clients find the nodes. */
  locate(metadata: Metadata): void;
  readonly toBroker: Road;
  readonly toClient: Road;
}

interface Exchange {
  readonly seen: Seen;
  readonly met: Met | undefined;
  /** Undefined until it may go to the client. */
  answer?: Buffer;
}

export class Passage {
  readonly #node: number;
  readonly #client: Socket;
  readonly #broker: Socket;
  readonly #rules: Rules;
  readonly #toClient: Lane;
  readonly #toBroker: Lane;
  /** Requests the client has no answer to, in order. */
  readonly #waiting: Exchange[] = [];
  /** Answers held until there are enough of them to be lost together. */
  #lost = 0;
  #closed = false;

  /** `broker`: a socket on its way to the node. */
  constructor(node: number, client: Socket, broker: Socket, rules: Rules, onClose: () => void) {
    this.#node = node;
    this.#client = client;
    this.#broker = broker;
    this.#rules = rules;
    this.#toClient = new Lane(client, rules.toClient);
    this.#toBroker = new Lane(broker, rules.toBroker);
    const requests = new FrameSplitter();
    const answers = new FrameSplitter();
    client.on('data', (chunk: Buffer) => {
      for (const frame of requests.split(chunk)) if (!this.#closed) this.#request(frame);
    });
    broker.on('data', (chunk: Buffer) => {
      for (const frame of answers.split(chunk)) if (!this.#closed) this.#answer(frame);
    });
    for (const socket of [client, broker]) {
      socket.setNoDelay(true);
      socket.on('error', () => {}); // either side may go as it likes, `close` follows
      socket.on('close', () => {
        this.cut();
        onClose();
      });
    }
  }

  /** Both connections end now. */
  cut(): void {
    this.#closed = true;
    this.#client.destroy();
    this.#broker.destroy();
  }

  /** Nothing passes until `resume`; what comes meanwhile waits in the sockets. */
  pause(): void {
    this.#client.pause();
    this.#broker.pause();
  }

  resume(): void {
    this.#client.resume();
    this.#broker.resume();
  }

  #request(frame: Buffer): void {
    const seen = readRequest(frame);
    const met = this.#rules.meet(seen, this.#node);
    const exchange: Exchange = { seen, met };
    const kind = met?.mischief.kind;
    if (kind === 'cut') {
      met?.hit();
      this.cut();
      return;
    }
    if (kind === 'half a request') {
      met?.hit();
      this.#closed = true;
      this.#broker.end(frame.subarray(0, frame.length >> 1));
      this.#client.destroy();
      return;
    }
    this.#waiting.push(exchange);
    if (met?.mischief.kind === 'refused' && seen.produce) {
      met.hit();
      const answer = produceAnswer(seen.produce, met.mischief.code, -1, 0);
      exchange.answer = frameOf(seen.correlationId, answer);
      this.#flush();
      return;
    }
    if (kind === 'bit flipped') met?.hit();
    this.#toBroker.send(kind === 'bit flipped' ? bitFlipped(frame) : frame);
  }

  #answer(frame: Buffer): void {
    const correlationId = correlationIdOf(frame);
    const exchange = this.#waiting.find(({ seen }) => seen.correlationId === correlationId);
    if (!exchange) throw new Error(`the broker answers ${correlationId}, which nobody asked`);
    const { seen, met } = exchange;
    const isMetadata = seen.api === 'metadata' && seen.version === 4;
    const answer = isMetadata
      ? rewriteMetadata(frame, (metadata) => this.#rules.locate(metadata))
      : frame;
    if (!met || met.isOver || !happensToAnswers(met.mischief)) exchange.answer = answer;
    else if (met.mischief.kind === 'answer lost') this.#lose(met, met.mischief.count);
    else {
      met.hit();
      this.#spoil(exchange, answer, met.mischief);
    }
    this.#flush();
  }

  /** Lets the fault happen to the answer. */
  #spoil(
    exchange: Exchange,
    answer: Buffer,
    mischief: Exclude<OnAnswer, { kind: 'answer lost' }>,
  ): void {
    const { seen } = exchange;
    switch (mischief.kind) {
      case 'refused':
      case 'answered':
        exchange.answer = withErrorCode(answer, seen, mischief.code);
        return;
      case 'throttled':
        exchange.answer = withThrottle(answer, seen, mischief.throttleMs);
        return;
      case 'garbled':
        exchange.answer = mischief.garble(answer);
        return;
      case 'metadata':
        exchange.answer = rewriteMetadata(answer, mischief.change);
        return;
      case 'late':
        setTimeout(() => {
          exchange.answer = answer;
          this.#flush();
        }, mischief.ms);
        return;
      case 'silence':
        this.#waiting.splice(this.#waiting.indexOf(exchange), 1);
        return;
      case 'half an answer':
        this.#closed = true;
        this.#client.end(answer.subarray(0, answer.length >> 1));
        this.#broker.destroy();
    }
  }

  #lose(met: Met, count = 1): void {
    this.#lost++;
    if (this.#lost < count) return;
    met.hit(this.#lost);
    this.cut();
  }

  /** Answers leave in the order of their requests, as from a broker. */
  #flush(): void {
    for (let head = this.#waiting[0]; head?.answer; head = this.#waiting[0]) {
      this.#waiting.shift();
      this.#toClient.send(head.answer);
    }
  }
}

function bitFlipped(frame: Buffer): Buffer {
  const flipped = Buffer.from(frame);
  flipped[flipped.length - 1]! ^= 1;
  return flipped;
}

/** How slow a link is. */
export interface Slowness {
  readonly delayMs?: number;
  /** At most so much more, at random. */
  readonly jitterMs?: number;
  /** Shared by all connections, each way. */
  readonly bytesPerSecond?: number;
}

/** One direction of the link, shared by all connections. */
export class Road {
  slowness: Slowness | undefined;
  /** Called for each frame that is slowed down. */
  onSlow: () => void = () => {};
  readonly #random: () => number;
  /** When the last byte that was sent so far has left. */
  #freeAt = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** When `bytes` that are sent now arrive. */
  arrivalOf(bytes: number): number {
    const now = performance.now();
    if (!this.slowness) return now;
    const { delayMs = 0, jitterMs = 0, bytesPerSecond = Infinity } = this.slowness;
    this.onSlow();
    this.#freeAt = Math.max(now, this.#freeAt) + (bytes / bytesPerSecond) * 1000;
    return this.#freeAt + delayMs + jitterMs * this.#random();
  }
}

/** One direction of one connection: frames arrive in order, whatever the road is like. */
class Lane {
  readonly #socket: Socket;
  readonly #road: Road;
  readonly #underway: { readonly frame: Buffer; readonly at: number }[] = [];

  constructor(socket: Socket, road: Road) {
    this.#socket = socket;
    this.#road = road;
  }

  send(frame: Buffer): void {
    const at = this.#road.arrivalOf(frame.length);
    this.#underway.push({ frame, at });
    if (this.#underway.length === 1) this.#deliver();
  }

  #deliver(): void {
    const now = performance.now();
    for (let head = this.#underway[0]; head; head = this.#underway[0]) {
      if (head.at > now) {
        setTimeout(() => this.#deliver(), head.at - now);
        return;
      }
      this.#underway.shift();
      this.#socket.write(head.frame);
    }
  }
}
