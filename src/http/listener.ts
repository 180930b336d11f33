// The public port. The handler is synchronous and waits for nothing: it answers, and leaves a record
// behind. Everything that is no redirect (405, 503) is answered here and not recorded.

import { lookup } from 'node:dns/promises';
import type { Server } from 'bun';
import type { Journal } from '../journal/journal.ts';
import type { Batcher } from '../record/batcher.ts';
import type { KeyPair } from '../pem.ts';
import { ListeningSocket } from './listening-socket.ts';
import type { Redirect } from './redirect.ts';

/** Seconds a connection may be silent. Bun's maximum is 255; 0 would mean for ever. */
const IDLE_TIMEOUT_S = 60;
/** Bodies are read and thrown away; Bun's default would accept 128 MB of that. Larger: 413. */
const REQUEST_BODY_BYTES_MAX = 64 * 1024;
/** How long `drain` lets clients finish what they are sending. */
const LINGER_MS = 500;
/** A connection that was begun this long ago is complete, or its client will try again. */
const HANDSHAKE_MS = 1000;
const POLL_MS = 100;
/** By then each client of a server without the port has been told to leave, or was silent too long. */
const FORMER_CLIENTS_MS = (IDLE_TIMEOUT_S + 5) * 1000;

export interface ListenerOptions {
  /** HTTPS; plain HTTP without. */
  readonly tls?: KeyPair | undefined;
  readonly hostname: string;
  readonly port: number;
  /** Others may listen on it, too: processes, or this one once more (`renew`). */
  readonly sharedPort: boolean;
  readonly redirect: Redirect;
  /** Answer 503 when the journal is full, instead of redirecting without a record. */
  readonly refuseWhenFull: boolean;
}

type ListenOptions = Pick<ListenerOptions, 'hostname' | 'port' | 'sharedPort' | 'tls'>;

export interface ListenerCounters {
  redirected: number;
  methodNotAllowed: number;
  refused: number;
  failed: number;
}

/** The address cannot be listened on: the message says why and what to do. */
export class ListenerUnusable extends Error {
  override readonly name = 'ListenerUnusable';
}

export class Listener {
  readonly counters: ListenerCounters = {
    redirected: 0,
    methodNotAllowed: 0,
    refused: 0,
    failed: 0,
  };
  /** Of the redirects. */
  readonly status: number;
  readonly outcome: string;
  readonly #options: ListenerOptions;
  readonly #batcher: Batcher;
  readonly #journal: Journal;
  #door: Door;
  /** Without the port, each for as long as a client of theirs may be connected. */
  readonly #former = new Set<Door>();
  #renewed: Promise<void> = Promise.resolve();

  /** @throws {ListenerUnusable} */
  constructor(options: ListenerOptions, batcher: Batcher, journal: Journal) {
    this.#options = options;
    this.#batcher = batcher;
    this.#journal = journal;
    this.status = options.redirect.status;
    this.outcome = options.redirect.outcome;
    this.#door = this.#open(options);
  }

  /** `http(s)://host:port`, with the port the kernel chose where 0 was asked for. */
  get url(): string {
    const { hostname = '', port, protocol } = this.#door.server;
    return `${protocol}://${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`;
  }

  /** What the kernel knows of the port. @throws where it tells nothing */
  get socket(): ListeningSocket {
    return this.#door.socket;
  }

  /** Does it show this certificate? */
  shows({ cert, key }: KeyPair): boolean {
    const { tls } = this.#door;
    return tls?.cert === cert && tls.key === key;
  }

  /**
   * Leaves a shared port on which another process takes all new connections: accepts what is on its
   * way here, then ends listening. Clients that are connected stay so, for one more request each.
   */
  async leave(): Promise<void> {
    await leave(this.#door);
  }

  /** Waits until the last client has gone, `limitMs` at most. */
  async linger(limitMs: number): Promise<void> {
    const since = performance.now();
    while (this.socket.connections > 0 && performance.now() - since < limitMs) {
      await Bun.sleep(POLL_MS);
    }
  }

  /**
   * New connections are shown this certificate from now on. Bun cannot change the one of a server, so
   * another server opens on the port, which must be a shared one that no other process uses, and the
   * former leaves it as a worker does that is replaced. One renewal after the other.
   * @throws what keeps it from being done; then all is as it was
   */
  renew(tls: KeyPair): Promise<void> {
    const renewed = this.#renewed.then(() => this.#renew(tls));
    this.#renewed = renewed.catch(() => {}); // its asker knows
    return renewed;
  }

  /**
   * Refuses new connections, answers what is on its way, then closes. Bun's own stop() waits 12 s for
   * silent keep-alive sockets, so after a moment they are cut.
   */
  async drain(): Promise<void> {
    await Promise.all([this.#door, ...this.#former].map(close));
  }

  async #renew(tls: KeyPair): Promise<void> {
    const former = this.#door;
    if (former.isClosed) return;
    const door = this.#open({ ...this.#options, port: former.socket.port, tls }, former.socket);
    try {
      door.socket.takeAll();
    } catch (error) {
      await door.server.stop(true);
      throw error;
    }
    this.#door = door;
    this.#former.add(former);
    await leave(former);
    if (door.isClosed) return;
    door.socket.share();
    setTimeout(() => {
      this.#former.delete(former);
      void close(former);
    }, FORMER_CLIENTS_MS).unref();
  }

  #open(options: ListenOptions, beside?: ListeningSocket): Door {
    const { redirect, refuseWhenFull } = this.#options;
    const { counters } = this;
    const [batcher, journal] = [this.#batcher, this.#journal];
    const fetch = (request: Request, server: Server<undefined>): Response => {
      const { method } = request;
      if (method !== 'GET' && method !== 'HEAD') {
        counters.methodNotAllowed++;
        return new Response(null, {
          status: 405,
          headers: { Allow: 'GET, HEAD', Connection: 'close' },
        });
      }
      if (refuseWhenFull && journal.full) {
        counters.refused++;
        return new Response(null, { status: 503, headers: { 'Retry-After': '1' } });
      }
      batcher.record(request, server, redirect);
      counters.redirected++;
      return new Response(null, door.isLeaving ? redirect.lastInit : redirect.init);
    };
    const onError = (): void => void counters.failed++;
    const door = new Door(listen({ ...options, fetch, onError }), options.tls, beside);
    return door;
  }
}

/** A server of Bun on the port. */
class Door {
  readonly server: Server<undefined>;
  readonly tls: KeyPair | undefined;
  /** The client is told to take its next request elsewhere. */
  isLeaving = false;
  isClosed = false;
  readonly #beside: ListeningSocket | undefined;
  #socket: ListeningSocket | undefined;

  /** `beside`: another one of this process that has the port. */
  constructor(
    server: Server<undefined>,
    tls: KeyPair | undefined,
    beside: ListeningSocket | undefined,
  ) {
    this.server = server;
    this.tls = tls;
    this.#beside = beside;
  }

  /** @throws where the kernel tells nothing of it */
  get socket(): ListeningSocket {
    this.#socket ??= new ListeningSocket(Number(this.server.port), this.#beside);
    return this.#socket;
  }
}

/** With another one taking all new connections: see `Listener.leave`. */
async function leave(door: Door): Promise<void> {
  const { socket } = door;
  door.isLeaving = true;
  const since = performance.now();
  while (socket.queued > 0 || performance.now() - since < HANDSHAKE_MS) await Bun.sleep(POLL_MS);
  // Closed meanwhile, its descriptor may be another file's by now.
  if (!door.isClosed) socket.close();
}

async function close(door: Door): Promise<void> {
  door.isLeaving = true;
  door.isClosed = true;
  await Promise.race([door.server.stop(), Bun.sleep(LINGER_MS)]);
  await door.server.stop(true);
}

/** Asked before Bun, which reports a name that does not resolve as an address in use. */
export async function checkHost(option: string, hostname: string): Promise<void> {
  try {
    await lookup(hostname);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ListenerUnusable(
      `${option}=${hostname} cannot be resolved (${code}). Set it to an address of this machine`,
    );
  }
}

/**
 * Nobody listens on it, not even somebody who would share it: with SO_REUSEPORT a second server would
 * take half of the first one's connections. The answer: the port, where 0 was asked for a free one.
 *
 * @throws {ListenerUnusable}
 */
export async function claimPort(hostname: string, port: number): Promise<number> {
  const fetch = (): Response => new Response(null, { status: 503 });
  const server = listen({ hostname, port, sharedPort: false, fetch });
  // Read before: a server that has stopped says 0.
  const claimed = Number(server.port);
  await server.stop(true);
  return claimed;
}

function listen({
  hostname,
  port,
  sharedPort,
  tls,
  fetch,
  onError,
}: ListenOptions & {
  fetch: (request: Request, server: Server<undefined>) => Response;
  onError?: () => void;
}): Server<undefined> {
  try {
    return Bun.serve({
      hostname,
      port,
      reusePort: sharedPort,
      ...(tls && { tls: { cert: tls.cert, key: tls.key } }),
      fetch,
      idleTimeout: IDLE_TIMEOUT_S,
      maxRequestBodySize: REQUEST_BODY_BYTES_MAX,
      error: () => {
        onError?.();
        return new Response(null, { status: 500 });
      },
    });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === 'EADDRINUSE' ? 'is taken by another process' : `failed (${message})`;
    throw new ListenerUnusable(
      `listening on ${hostname}:${port} ${reason}. Stop that one, or set another HOST or PORT`,
    );
  }
}
