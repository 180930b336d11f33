// What a server costs that nobody calls: CPU over some seconds of silence, its Kafka connection open.
// That the connection is open is proven, not assumed: the records of the first requests have to be
// in Kafka before the clock starts.

import { Contestant } from './contestant.ts';
import type { BenchKafka } from './kafka.ts';
import { cpuMicroseconds, type Memory } from './proc.ts';
import type { Variant } from './variants.ts';

const connectedMs = 20_000;
/** Lets the collector and the JIT finish what starting left them. */
const settleMs = 3_000;

export interface IdleRow {
  variant: string;
  cpuPercent: number;
  memory: Memory;
  /** What went wrong at the end; null when it stopped in time. */
  failure: string | null;
}

export async function measureIdle(
  variant: Variant,
  kafka: BenchKafka,
  seconds: number,
  dir: string,
  stack: AsyncDisposableStack,
): Promise<IdleRow> {
  const contestant = Contestant.start(stack, variant, kafka.brokers, dir);
  await contestant.ready();
  if (variant.log !== 'none') await connected(contestant, kafka);
  await Bun.sleep(settleMs);
  const began = performance.now();
  const before = contestant.cpuTime();
  await Bun.sleep(seconds * 1_000);
  const cpuUs = cpuMicroseconds(before, contestant.cpuTime());
  const elapsedUs = (performance.now() - began) * 1_000;
  await contestant.assertAlive();
  const memory = contestant.memory();
  return {
    variant: variant.name,
    cpuPercent: (100 * cpuUs) / elapsedUs,
    memory,
    failure: await contestant.stop(),
  };
}

async function connected(contestant: Contestant, kafka: BenchKafka): Promise<void> {
  const deadline = performance.now() + connectedMs;
  while ((await contestant.records(kafka)) < contestant.answered) {
    if (performance.now() > deadline) {
      throw new Error(`its first record was not in Kafka after ${connectedMs / 1_000} s`);
    }
    await Bun.sleep(100);
  }
}
