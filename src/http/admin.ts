// The second port: is it alive, does it deliver, how much of what. Reads counters when asked and
// keeps none of its own, so nothing of it is on the request path.

import type { Server } from 'bun';
import { ListenerUnusable } from './listener.ts';

export interface AdminOptions {
  readonly hostname: string;
  readonly port: number;
  /** Undefined = ready; else why not. */
  readonly trouble: () => string | undefined | Promise<string | undefined>;
  /** Prometheus text exposition. */
  readonly metrics: () => Promise<string>;
}

/** @throws {ListenerUnusable} */
export function listenAdmin(options: AdminOptions): Server<undefined> {
  const { hostname, port } = options;
  const ready = async (): Promise<Response> => {
    const reason = await options.trouble();
    if (reason === undefined) return Response.json({ ready: true });
    return Response.json({ ready: false, reason }, { status: 503 });
  };
  const metrics = async (): Promise<Response> =>
    new Response(await options.metrics(), {
      headers: { 'Content-Type': 'text/plain; version=0.0.4; charset=utf-8' },
    });
  try {
    return Bun.serve({
      hostname,
      port,
      routes: {
        '/live': { GET: () => Response.json({ live: true }) },
        '/ready': { GET: ready },
        '/metrics': { GET: metrics },
      },
      fetch: () => new Response('hoplog: /live, /ready, /metrics\n', { status: 404 }),
      error: (error) => new Response(`${error.message}\n`, { status: 500 }),
    });
  } catch (error) {
    throw new ListenerUnusable(
      `listening on ${hostname}:${port} for admin failed (${(error as Error).message}). ` +
        'Set another ADMIN_PORT, or ADMIN_PORT=off',
    );
  }
}
