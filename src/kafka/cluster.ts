// Connections to the brokers: the only file that imports kafkajs. It carries sockets, ApiVersions
// and request matching; the requests themselves are protocol.ts's. kafkajs's producer and its
// metadata cache are not used: one fails a `send()` that half arrived (kafkajs PR#1798), the other
// throws when one partition of many has no leader.
//
// A connection that failed is thrown away whole, never reconnected: kafkajs keeps the bytes of a
// half-read answer over a reconnect and would read the new stream askew.

import { connect, isIP, type Socket } from 'node:net';
import Broker from 'kafkajs/src/broker/index.js';
import createConnectionPoolBuilder, {
  type ConnectionPool,
} from 'kafkajs/src/cluster/connectionPoolBuilder.js';
import { createLogger, LEVELS } from 'kafkajs/src/loggers/index.js';
import RequestQueue from 'kafkajs/src/network/requestQueue/index.js';
import { FrameGuard } from './frame-guard.ts';
import {
  type KafkaRequest,
  type MetadataAnswer,
  metadataRequest,
  requestHeader,
} from './protocol.ts';

const CONNECTION_TIMEOUT_MS = 5000;
/** As Java's request.timeout.ms: longer than a broker may take over an acks=all write. */
export const REQUEST_TIMEOUT_MS = 30_000;
const KEEP_ALIVE_MS = 60_000;
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

export interface BrokerAddress {
  readonly host: string;
  readonly port: number;
}

/** No answer from a broker. `sent` = the request may have reached it. */
export class BrokerUnreachable extends Error {
  override readonly name = 'BrokerUnreachable';
  readonly sent: boolean;

  constructor(message: string, sent: boolean) {
    super(message);
    this.sent = sent;
  }
}

export class Cluster {
  readonly #seeds: readonly BrokerAddress[];
  readonly #builder: ReturnType<typeof createConnectionPoolBuilder>;
  readonly #logger: unknown;
  readonly #clientId: string;
  readonly #brokers = new Map<string, Promise<Broker>>();
  #nodes = new Map<number, BrokerAddress>();
  #closed = false;

  constructor(seeds: readonly BrokerAddress[], clientId: string) {
    this.#seeds = seeds;
    this.#clientId = clientId;
    this.#logger = createLogger({ level: LEVELS.NOTHING, logCreator: () => () => {} });
    this.#builder = createConnectionPoolBuilder({
      socketFactory: openSocket,
      clientId,
      connectionTimeout: CONNECTION_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      enforceRequestTimeout: true,
      reauthenticationThreshold: 10_000,
      brokers: [],
      logger: this.#logger,
    });
  }

  /** Brokers connected or connecting. */
  get connections(): number {
    return this.#brokers.size;
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

  /** Asks the brokers one after the other, known nodes first, until one answers. */
  async sendToAny<Answer>(request: KafkaRequest<Answer>): Promise<Answer> {
    const known = [...this.#nodes.values(), ...this.#seeds];
    const candidates = [...new Map(known.map((address) => [keyOf(address), address])).values()];
    candidates.sort((a, b) => Number(this.#isOpen(b)) - Number(this.#isOpen(a)));
    const failures = new Set<string>();
    for (const address of candidates) {
      try {
        return await this.#sendTo(address, request);
      } catch (error) {
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
    const brokers = await Promise.allSettled(this.#brokers.values());
    this.#brokers.clear();
    for (const broker of brokers) {
      if (broker.status === 'fulfilled') {
        abandon(broker.value, new BrokerUnreachable('closing', true));
      }
    }
  }

  async #sendTo<Answer>(address: BrokerAddress, request: KafkaRequest<Answer>): Promise<Answer> {
    const broker = await this.#broker(address);
    try {
      return await exchange(broker.connectionPool, this.#clientId, request);
    } catch (error) {
      if (error instanceof BrokerUnreachable) throw error;
      // Also after a time-out alone: the stream may be stuck, and a retry on it would only queue.
      const unreachable = new BrokerUnreachable(describe(address, error), true);
      this.#discard(address, broker, unreachable);
      throw unreachable;
    }
  }

  #isOpen(address: BrokerAddress): boolean {
    return this.#brokers.has(keyOf(address));
  }

  async #broker(address: BrokerAddress): Promise<Broker> {
    if (this.#closed) throw new BrokerUnreachable('the connections are closed', false);
    const key = keyOf(address);
    const pending = this.#brokers.get(key);
    if (pending) {
      const broker = await pending;
      if (broker.isConnected()) return broker;
      if (this.#brokers.get(key) === pending) this.#brokers.delete(key);
      return this.#broker(address);
    }
    const connecting = this.#connect(address);
    this.#brokers.set(key, connecting);
    try {
      return await connecting;
    } catch (error) {
      if (this.#brokers.get(key) === connecting) this.#brokers.delete(key);
      throw error;
    }
  }

  async #connect(address: BrokerAddress): Promise<Broker> {
    const connectionPool = await this.#builder.build(address);
    const broker = new Broker({ connectionPool, logger: this.#logger });
    try {
      await broker.connect();
      return broker;
    } catch (error) {
      const unreachable = new BrokerUnreachable(describe(address, error), false);
      abandon(broker, unreachable);
      throw unreachable;
    }
  }

  #discard(address: BrokerAddress, broker: Broker, reason: Error): void {
    const key = keyOf(address);
    const current = this.#brokers.get(key);
    if (current && Bun.peek(current) === broker) this.#brokers.delete(key);
    abandon(broker, reason);
  }
}

function keyOf({ host, port }: BrokerAddress): string {
  return `${host}:${port}`;
}

function describe(address: BrokerAddress, error: unknown): string {
  const { message } = error as Error;
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

/**
 * One request over kafkajs's queue, which matches the answer, times it out and obeys throttling. The
 * bytes go to the socket as they are: kafkajs's own encoder would copy a batch three times.
 */
async function exchange<Answer>(
  pool: ConnectionPool,
  clientId: string,
  request: KafkaRequest<Answer>,
): Promise<Answer> {
  const connection = await pool.getConnection();
  if (!connection.isAuthenticated()) await connection.authenticate();
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
      if (!socket) throw new BrokerUnreachable('the connection has just closed', false);
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

/**
 * kafkajs listens for `end` and `error` alone; a connection that is reset may only `close`, and its
 * requests would wait for their time-out.
 */
function openSocket({ host, port, onConnect }: BrokerAddress & { onConnect: () => void }): Socket {
  const family = isIP(host);
  const socket = connect({ host, port, ...(family === 0 ? {} : { family }) }, onConnect);
  guardData(socket);
  socket.setKeepAlive(true, KEEP_ALIVE_MS);
  socket.setNoDelay(true);
  let ended = false;
  socket.once('end', () => {
    ended = true;
  });
  socket.once('close', () => {
    if (!ended) socket.emit('end');
  });
  return socket;
}

/**
 * kafkajs throws out of its `data` listener on a frame that makes no sense, or waits for one that will
 * never be whole: end the connection.
 */
function guardData(socket: Socket): void {
  const guard = new FrameGuard();
  const on = socket.on.bind(socket);
  socket.on = (event: string, listener: Parameters<typeof on>[1]): Socket => {
    if (event !== 'data') return on(event, listener);
    return on('data', (chunk: Buffer) => {
      try {
        guard.check(chunk);
        listener(chunk);
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
  };
}
