// One burst of load: wrk, one thread, pinned to the generator's core, in one of a few shapes.
//
// wrk never follows a redirect and counts a status above 399 as bad; load/report.lua makes it print
// exact figures. When its time is up it closes its sockets, so a request a connection was sent
// that it never counted as answered: `unknown` carries that bound into the comparison with Kafka.

import { onLoadCore } from './cores.ts';

/** How clients come. Headers beyond Host are sent with every request. */
export interface LoadShape {
  readonly name: string;
  readonly connections: number;
  readonly headers: readonly string[];
}

const curl = ['User-Agent: curl/8.5.0', 'Accept: */*'];

export const shapes = {
  keepAlive: { name: '64 keep-alive connections', connections: 64, headers: [] },
  manyConnections: { name: '1,000 keep-alive connections', connections: 1_000, headers: [] },
  newConnections: {
    name: 'a new connection for each request',
    connections: 64,
    headers: [...curl, 'Connection: close'],
  },
  curl: { name: 'headers as of curl', connections: 64, headers: curl },
  browser: {
    name: 'headers as of a browser',
    connections: 64,
    headers: [
      'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
      'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
      'Accept-Language: en-GB,en;q=0.9,de;q=0.8',
      'Accept-Encoding: gzip, deflate, br, zstd',
      'Referer: https://www.example.com/a/page/with/a/link?from=somewhere',
      'Cookie: session=0123456789abcdef0123456789abcdef; consent=1; theme=dark',
      'Sec-Fetch-Dest: document',
      'Sec-Fetch-Mode: navigate',
      'Sec-Fetch-Site: cross-site',
      'Upgrade-Insecure-Requests: 1',
    ],
  },
} as const satisfies Record<string, LoadShape>;

const script = `${import.meta.dir}/load/report.lua`;

export interface Burst {
  requests: number;
  durationUs: number;
  /** Answers with a status above 399. */
  bad: number;
  socketErrors: number;
  p50Us: number;
  p99Us: number;
}

export function wrkMissing(): string | null {
  return Bun.which('wrk') === null
    ? 'wrk is not installed: it makes the load; install it with `apt-get install wrk`'
    : null;
}

export async function burst(
  url: string,
  seconds: number,
  shape: LoadShape,
  signal: AbortSignal,
): Promise<Burst> {
  const wrk = Bun.spawn(
    onLoadCore([
      'wrk',
      '--threads=1',
      `--connections=${shape.connections}`,
      ...shape.headers.flatMap((header) => ['--header', header]),
      `--duration=${seconds}s`,
      `--script=${script}`,
      url,
    ]),
    // wrk ends by itself; the timeout is for the day it does not.
    { stdout: 'pipe', stderr: 'pipe', signal, timeout: seconds * 1_000 + 15_000 },
  );
  const [out, err, code] = await Promise.all([wrk.stdout.text(), wrk.stderr.text(), wrk.exited]);
  const line = out.split('\n').find((line) => line.startsWith('hoplog '));
  if (code !== 0 || line === undefined) throw new Error(`wrk failed (${code}): ${err}${out}`);
  return JSON.parse(line.slice('hoplog '.length)) as Burst;
}
