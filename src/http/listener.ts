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

export interface ListenerOptions {
  /** HTTPS; plain HTTP without. */
  readonly tls?: KeyPair | undefined;
  readonly hostname: string;
  readonly port: number;
  /** Other processes listen on it, too. */
  readonly sharedPort: boolean;
  readonly redirect: Redirect;
  /** Answer 503 when the journal is full, instead of redirecting without a record. */
  readonly refuseWhenFull: boolean;
}

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
  readonly #server: Server<undefined>;
  #socket: ListeningSocket | undefined;
  #draining = false;

  /** @throws {ListenerUnusable} */
  constructor(options: ListenerOptions, batcher: Batcher, journal: Journal) {
    const { redirect, refuseWhenFull } = options;
    const { counters } = this;
    this.status = redirect.status;
    this.outcome = redirect.outcome;
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
      return new Response(null, this.#draining ? redirect.lastInit : redirect.init);
    };
    const onError = (): void => void counters.failed++;
    this.#server = listen({ ...options, fetch, onError });
  }

  /** `http(s)://host:port`, with the port the kernel chose where 0 was asked for. */
  get url(): string {
    const { hostname = '', port, protocol } = this.#server;
    return `${protocol}://${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`;
  }

  /** What the kernel knows of the port. @throws where it tells nothing */
  get socket(): ListeningSocket {
    this.#socket ??= new ListeningSocket(Number(this.#server.port));
    return this.#socket;
  }

  /**
   * Leaves a shared port on which another process takes all new connections: accepts what is on its
   * way here, then ends listening. Clients that are connected stay so, for one more request each.
   */
  async leave(): Promise<void> {
    const { socket } = this;
    this.#draining = true;
    const since = performance.now();
    while (socket.queued > 0 || performance.now() - since < HANDSHAKE_MS) await Bun.sleep(POLL_MS);
    socket.close();
  }

  /** Waits until the last client has gone, `limitMs` at most. */
  async linger(limitMs: number): Promise<void> {
    const since = performance.now();
    while (this.socket.connections > 0 && performance.now() - since < limitMs) {
      await Bun.sleep(POLL_MS);
    }
  }

  /**
   * Refuses new connections, answers what is on its way, then closes. Bun's own stop() waits 12 s for
   * silent keep-alive sockets, so after a moment they are cut.
   */
  async drain(): Promise<void> {
    this.#draining = true;
    await Promise.race([this.#server.stop(), Bun.sleep(LINGER_MS)]);
    await this.#server.stop(true);
  }
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
}: Pick<ListenerOptions, 'hostname' | 'port' | 'sharedPort' | 'tls'> & {
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
