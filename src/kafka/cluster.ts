// Connections to the brokers: the only file that imports kafkajs. It carries sockets, ApiVersions
// and request matching; the requests themselves are protocol.ts's. kafkajs's producer and its
// metadata cache are not used: one fails a `send()` that half arrived (kafkajs PR#1798), the other
// throws when one partition of many has no leader.
//
// A connection that failed is thrown away whole, never reconnected: kafkajs keeps the bytes of a
// half-read answer over a reconnect and would read the new stream askew. Its way to authenticate anew
// on a connection is not used either: one whose session ends, or whose credentials are old, takes no
// more requests, and the next one opens when its answers have come, so that their order stays.

import Broker from 'kafkajs/src/broker/index.js';
import createConnectionPoolBuilder, {
  type Connection,
} from 'kafkajs/src/cluster/connectionPoolBuilder.js';
import { createLogger, LEVELS } from 'kafkajs/src/loggers/index.js';
import RequestQueue from 'kafkajs/src/network/requestQueue/index.js';
import type { Config } from '../config.ts';
import { HOLD_MS } from './errors.ts';
import {
  type KafkaRequest,
  type MetadataAnswer,
  metadataRequest,
  requestHeader,
} from './protocol.ts';
import { readSecurity, type Security } from './security.ts';
import { openSocket } from './socket.ts';
import { AuthenticationFailed, BrokerUnreachable } from './unreachable.ts';

const CONNECTION_TIMEOUT_MS = 5000;
/** As Java's request.timeout.ms: longer than a broker may take over an acks=all write. */
export const REQUEST_TIMEOUT_MS = 30_000;
const TIMEOUT_CHECK_MS = 100;

// kafkajs takes time from Date.now(): with the clock put back an hour, a request without an answer would
// be out, and a throttled connection silent, for an hour more. So what looks at time is replaced; times
// are performance.now()'s.
const { prototype: requestQueue } = RequestQueue;
const { sendSocketRequest } = requestQueue;
const sentAt = new WeakMap<object, number>();

requestQueue.sendSocketRequest = function send(request) {
  sentAt.set(request, performance.now());
  sendSocketRequest.call(this, request);
};

requestQueue.scheduleRequestTimeoutCheck = function schedule() {
  this.destroy();
  this.requestTimeoutIntervalId = setInterval(() => {
    const now = performance.now();
    for (const request of this.inflight.values()) {
      if (now - (sentAt.get(request) ?? now) > request.requestTimeout) request.timeoutRequest();
    }
    if (!this.isConnected()) this.destroy();
  }, TIMEOUT_CHECK_MS);
};

requestQueue.maybeThrottle = function throttle(ms) {
  if (ms > 0) this.throttledUntil = Math.max(this.throttledUntil, performance.now() + ms);
};

requestQueue.canSendSocketRequestImmediately = function isFree() {
  return this.throttledUntil <= performance.now();
};

// kafkajs's own arms a timer after every answer, whether or not anything waits, and that timer arms the
// next: a 1 ms timer for ever, 2.8 % of an idle CPU (tulios/kafkajs#1751).
requestQueue.scheduleCheckPendingRequests = function schedule() {
  if (this.pending.length === 0 || this.throttleCheckTimeoutId) return;
  this.throttleCheckTimeoutId = setTimeout(
    () => {
      this.throttleCheckTimeoutId = null;
      this.checkPendingRequests();
    },
    Math.max(1, this.throttledUntil - performance.now()),
  );
};

const SILENT = createLogger({ level: LEVELS.NOTHING, logCreator: () => () => {} });

export interface BrokerAddress {
  readonly host: string;
  readonly port: number;
}

/** A connection of ours. */
interface Link {
  readonly address: BrokerAddress;
  readonly broker: Broker;
  readonly connection: Connection;
  /** By performance.now(): before the session that SASL opened ends. */
  readonly renewAt: number;
  hasAnswered: boolean;
  /** Takes no more requests; resolves when the last answer has come and it is closed. */
  retired?: Promise<void>;
}

export class Cluster {
  readonly #seeds: readonly BrokerAddress[];
  readonly #clientId: string;
  readonly #links = new Map<string, Promise<Link>>();
  readonly #open = new Set<Link>();
  #builder: ReturnType<typeof createConnectionPoolBuilder>;
  #security: Security;
  #refused: { readonly until: number; readonly reason: string } | undefined;
  #nodes = new Map<number, BrokerAddress>();
  #closed = false;

  /** @throws {ConfigError} a file of a certificate or key cannot be used */
  static of(config: Config): Cluster {
    return new Cluster(config.KAFKA_BROKERS, config.KAFKA_CLIENT_ID, readSecurity(config));
  }

  constructor(seeds: readonly BrokerAddress[], clientId: string, security: Security = {}) {
    this.#seeds = seeds;
    this.#clientId = clientId;
    this.#builder = createBuilder(clientId, security);
    this.#security = security;
  }

  /** Brokers connected. */
  get connections(): number {
    return [...this.#open].filter(({ connection }) => connection.isConnected()).length;
  }

  /** From now on connections are made with these credentials; what is on its way may finish. */
  secure(security: Security): void {
    this.#builder = createBuilder(this.#clientId, security);
    this.#security = security;
    this.#refused = undefined;
    for (const opening of this.#links.values()) {
      opening.then(
        (link) => this.#retire(link),
        () => {}, // its asker knows
      );
    }
  }

  /**
   * Asks node `nodeId` (from the latest metadata).
   * @throws {BrokerUnreachable} no answer; `ResponseMalformed`: an answer that cannot be read.
   */
  async send<Answer>(nodeId: number, request: KafkaRequest<Answer>): Promise<Answer> {
    const address = this.#nodes.get(nodeId);
    if (!address) throw new BrokerUnreachable(`node ${nodeId} is not in the metadata`, false);
    return this.#sendTo(address, request);
  }

  /**
   * Asks the brokers one after the other, known nodes first, until one answers. One that refuses our
   * credentials ends it: the others would, too, and each refusal counts.
   */
  async sendToAny<Answer>(request: KafkaRequest<Answer>): Promise<Answer> {
    const known = [...this.#nodes.values(), ...this.#seeds];
    const candidates = [...new Map(known.map((address) => [keyOf(address), address])).values()];
    candidates.sort((a, b) => Number(this.#isOpen(b)) - Number(this.#isOpen(a)));
    const failures = new Set<string>();
    for (const address of candidates) {
      try {
        return await this.#sendTo(address, request);
      } catch (error) {
        if (error instanceof AuthenticationFailed) throw error;
        failures.add((error as Error).message);
      }
    }
    throw new BrokerUnreachable([...failures].join('; '), false);
  }

  /** Fresh metadata of one topic; remembers where the nodes are. */
  async metadata(topic: string): Promise<MetadataAnswer> {
    const answer = await this.sendToAny(metadataRequest(topic));
    if (answer.nodes.length > 0) {
      this.#nodes = new Map(answer.nodes.map(({ nodeId, host, port }) => [nodeId, { host, port }]));
    }
    return answer;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const link of this.#open) this.#abandon(link, new BrokerUnreachable('closing', true));
    await Promise.allSettled(this.#links.values());
    this.#links.clear();
  }

  async #sendTo<Answer>(address: BrokerAddress, request: KafkaRequest<Answer>): Promise<Answer> {
    const link = await this.#link(address);
    try {
      const answer = await exchange(link.connection, this.#clientId, request);
      link.hasAnswered = true;
      return answer;
    } catch (error) {
      if (error instanceof BrokerUnreachable) throw error;
      // Also after a time-out alone: the stream may be stuck, and a retry on it would only queue.
      const wantsSasl = !link.hasAnswered && !this.#security.sasl;
      const hint = wantsSasl && isClosing(error) ? CLOSED_WITHOUT_SASL : '';
      const unreachable = new BrokerUnreachable(describe(address, error) + hint, true);
      this.#abandon(link, unreachable);
      throw unreachable;
    }
  }

  #isOpen(address: BrokerAddress): boolean {
    return this.#links.has(keyOf(address));
  }

  /** Whoever waits for the same connection gets it in the order of asking. */
  async #link(address: BrokerAddress): Promise<Link> {
    const key = keyOf(address);
    for (;;) {
      const pending = this.#links.get(key) ?? this.#connectTo(address);
      const link = await pending;
      if (isUsable(link)) return link;
      // Whoever comes first opens the next one; the others wait for that.
      if (this.#links.get(key) === pending) void this.#connectTo(address, this.#retire(link));
    }
  }

  #connectTo(address: BrokerAddress, previous = Promise.resolve()): Promise<Link> {
    const key = keyOf(address);
    const connecting = previous.then(() => this.#connect(address));
    this.#links.set(key, connecting);
    connecting.catch(() => {
      if (this.#links.get(key) === connecting) this.#links.delete(key);
    });
    return connecting;
  }

  async #connect(address: BrokerAddress): Promise<Link> {
    if (this.#closed) throw new BrokerUnreachable('the connections are closed', false);
    if (this.#refused && performance.now() < this.#refused.until) {
      throw new AuthenticationFailed(this.#refused.reason);
    }
    const connectionPool = await this.#builder.build(address);
    const broker = new Broker({ connectionPool, logger: SILENT });
    const [connection] = connectionPool.pool;
    try {
      await broker.connect();
    } catch (error) {
      const failure = this.#connectFailure(address, broker, error);
      abandon(broker, failure);
      throw failure;
    }
    const link = {
      address,
      broker,
      connection,
      renewAt: performance.now() + sessionMs(connection),
      hasAnswered: false,
    };
    this.#open.add(link);
    if (this.#closed) this.#abandon(link, new BrokerUnreachable('closing', false));
    return link;
  }

  #connectFailure(address: BrokerAddress, broker: Broker, error: unknown): BrokerUnreachable {
    const { tls, sasl } = this.#security;
    const isGreeted = broker.versions !== null;
    // Who has said which requests it knows, and is still there, has said no to what came next.
    if (sasl && isGreeted && broker.connectionPool.isConnected()) {
      const reason = `${keyOf(address)}: SASL ${sasl.mechanism} authentication failed: ${refusalOf(error)}`;
      this.#refused = { until: performance.now() + HOLD_MS, reason };
      return new AuthenticationFailed(reason);
    }
    const hint = !tls && !isGreeted && isClosing(error) ? CLOSED_WITHOUT_TLS : '';
    return new BrokerUnreachable(describe(address, error) + hint, false);
  }

  #retire(link: Link): Promise<void> {
    link.retired ??= this.#finish(link);
    return link.retired;
  }

  async #finish(link: Link): Promise<void> {
    // Whoever was just given this connection puts a request on it within this tick.
    await new Promise((resolve) => setImmediate(resolve));
    await link.connection.requestQueue.waitForPendingRequests();
    this.#abandon(link, new BrokerUnreachable('the connection was replaced', true));
  }

  #abandon(link: Link, reason: Error): void {
    const key = keyOf(link.address);
    const current = this.#links.get(key);
    if (current && Bun.peek(current) === link) this.#links.delete(key);
    this.#open.delete(link);
    abandon(link.broker, reason);
  }
}

function keyOf({ host, port }: BrokerAddress): string {
  return `${host}:${port}`;
}

const CLOSED_WITHOUT_TLS = ' before it answered anything: a port with TLS does that, see KAFKA_TLS';
const CLOSED_WITHOUT_SASL =
  ' at the first request: a port with SASL does that, see KAFKA_SASL_MECHANISM';

function refusalOf(error: unknown): string {
  const { message, type } = error as Error & { type?: string };
  if (type === 'ILLEGAL_SASL_STATE') return 'this port has no SASL';
  return message.replace(/^SASL .+? authentication failed: /, '');
}

function isClosing(error: unknown): boolean {
  return (error as Error).name === 'KafkaJSConnectionClosedError';
}

function describe(address: BrokerAddress, error: unknown): string {
  const message = (error as Error).message.replace(/^Connection error: /, '');
  return message.includes(keyOf(address)) ? message : `${keyOf(address)}: ${message}`;
}

const abandoned = new WeakSet<Broker>();

/**
 * Fails what is in flight and closes the socket now; kafkajs's own way waits for the answers. Once:
 * each request that was in flight reports the end, and each disconnect() adds listeners to the socket.
 */
function abandon(broker: Broker, reason: Error): void {
  if (abandoned.has(broker)) return;
  abandoned.add(broker);
  for (const connection of broker.connectionPool.pool) {
    connection.rejectRequests(reason);
    connection.socket?.destroy();
  }
  void broker.disconnect();
}

function createBuilder(clientId: string, { tls, sasl }: Security) {
  return createConnectionPoolBuilder({
    socketFactory: openSocket,
    ssl: tls,
    sasl,
    clientId,
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    enforceRequestTimeout: true,
    brokers: [],
    logger: SILENT,
  });
}

/** How long the session that SASL opened is used: 80 to 90 % of its life, each connection at its own. */
function sessionMs({ sessionLifetime }: Connection): number {
  const lifetimeMs = Number(sessionLifetime.toString());
  return lifetimeMs > 0 ? lifetimeMs * (0.8 + Math.random() * 0.1) : Infinity;
}

function isUsable({ connection, renewAt, retired }: Link): boolean {
  return !retired && connection.isConnected() && performance.now() < renewAt;
}

/**
 * One request over kafkajs's queue, which matches the answer, times it out and obeys throttling. The
 * bytes go to the socket as they are: kafkajs's own encoder would copy a batch three times.
 */
async function exchange<Answer>(
  connection: Connection,
  clientId: string,
  request: KafkaRequest<Answer>,
): Promise<Answer> {
  const { requestQueue } = connection;
  const { apiKey, apiName, apiVersion, body, decode } = request;
  const correlationId = connection.nextCorrelationId();
  const { promise, resolve, reject } = Promise.withResolvers<{ payload: Buffer }>();
  // When `push` throws, nobody waits for the answer, yet closing the connection will reject it.
  promise.catch(() => {});
  requestQueue.push({
    entry: { apiKey, apiName, apiVersion, correlationId, resolve, reject },
    expectResponse: true,
    requestTimeout: null,
    sendRequest: () => {
      const { socket } = connection;
      if (!socket || socket.destroyed) {
        throw new BrokerUnreachable('the connection has just closed', false);
      }
      socket.cork();
      socket.write(requestHeader(request, correlationId, clientId));
      for (const piece of body) socket.write(piece);
      socket.uncork();
    },
  });
  const { payload } = await promise;
  const answer = decode(payload);
  requestQueue.maybeThrottle((answer as { throttleMs?: number }).throttleMs ?? 0);
  return answer;
}
