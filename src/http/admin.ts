// The second port: is it alive, does it deliver, how much of what. Reads counters when asked and
// keeps none of its own, so nothing of it is on the request path. With a token it answers nobody else,
// but for /live: that says no more than that the port is open, and health checks of containers and load
// balancers have no safe place for a secret.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { Server } from 'bun';
import { ListenerUnusable } from './listener.ts';

export interface AdminOptions {
  readonly hostname: string;
  readonly port: number;
  /** What /ready and /metrics ask for; '' = nothing. */
  readonly token: () => string;
  /** Why it is not ready; none = it is. */
  readonly troubles: () => readonly string[] | Promise<readonly string[]>;
  /** Prometheus text exposition. */
  readonly metrics: () => Promise<string>;
}

type Handler = (request: Request) => Response | Promise<Response>;

/** @throws {ListenerUnusable} */
export function listenAdmin(options: AdminOptions): Server<undefined> {
  const { hostname, port } = options;
  const guarded =
    (handler: Handler): Handler =>
    (request) =>
      bears(request, options.token()) ? handler(request) : refusal();
  try {
    return Bun.serve({
      hostname,
      port,
      routes: {
        '/live': { GET: () => Response.json({ live: true }) },
        '/ready': { GET: guarded(() => ready(options)) },
        '/metrics': { GET: guarded(() => metrics(options)) },
      },
      fetch: guarded(() => new Response('hoplog: /live, /ready, /metrics\n', { status: 404 })),
      error: (error) => new Response(`${error.message}\n`, { status: 500 }),
    });
  } catch (error) {
    throw new ListenerUnusable(
      `listening on ${hostname}:${port} for admin failed (${(error as Error).message}). ` +
        'Set another ADMIN_PORT, or ADMIN_PORT=off',
    );
  }
}

async function ready({ troubles }: AdminOptions): Promise<Response> {
  const reasons = await troubles();
  if (reasons.length === 0) return Response.json({ ready: true });
  return Response.json({ ready: false, reasons }, { status: 503 });
}

async function metrics(options: AdminOptions): Promise<Response> {
  const headers = { 'Content-Type': 'text/plain; version=0.0.4; charset=utf-8' };
  return new Response(await options.metrics(), { headers });
}

function bears(request: Request, token: string): boolean {
  if (token === '') return true;
  const [, shown] = /^Bearer +(\S+)$/i.exec(request.headers.get('Authorization') ?? '') ?? [];
  return shown !== undefined && timingSafeEqual(digestOf(shown), digestOf(token));
}

/** Of one length, so that the time of a comparison tells nothing, not even the length. */
function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function refusal(): Response {
  const headers = { 'WWW-Authenticate': 'Bearer realm="hoplog admin"' };
  return new Response('hoplog: needs ADMIN_TOKEN as bearer token\n', { status: 401, headers });
}
