// Load at a fixed rate, whatever the server does: load/open-loop, pinned to the generator's core. Its
// latencies count from when a request was due, so a stall is charged to every request that waited.

import { onLoadCore } from './cores.ts';
import { CACHE, rustProgram } from './prepare.ts';

/** Undefined = it can run; else why not. */
export const prepareOpenLoop = rustProgram('open-loop', 'load');

export interface Latencies {
  requests: number;
  requestsPerSecond: number;
  p50Us: number;
  p99Us: number;
  p999Us: number;
  maxUs: number;
}

export interface SteadyLoad extends Latencies {
  /** The same of each second. */
  seconds: Latencies[];
}

export async function openLoop(
  url: string,
  load: { rate: number; seconds: number; connections: number },
  signal: AbortSignal,
): Promise<SteadyLoad> {
  const { rate, seconds, connections } = load;
  const program = `${CACHE}/open-loop/release/open-loop`;
  const numbers = [rate, seconds, connections].map((number) => `${Math.round(number)}`);
  const child = Bun.spawn(onLoadCore([program, new URL(url).host, ...numbers]), {
    stdout: 'pipe',
    stderr: 'pipe',
    signal,
    timeout: seconds * 1_000 + 15_000,
  });
  const [out, err, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(err.trim() || `open-loop ended with exit code ${code}`);
  return JSON.parse(out) as SteadyLoad;
}
