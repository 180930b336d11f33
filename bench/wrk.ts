// One burst of load: wrk, 64 keep-alive connections from one thread, pinned to the generator's core.
//
// wrk never follows a redirect and counts a status above 399 as bad; load/report.lua makes it print
// exact figures. When its time is up it closes its sockets, so up to 64 requests were sent that it
// never counted as answered: `unknown` carries that bound into the comparison with Kafka.

import { onLoadCore } from './cores.ts';

export const connections = 64;
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

export async function burst(url: string, seconds: number, signal: AbortSignal): Promise<Burst> {
  const wrk = Bun.spawn(
    onLoadCore([
      'wrk',
      '--threads=1',
      `--connections=${connections}`,
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
