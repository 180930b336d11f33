// The Kafka half alone: CPU a record from the sealed journal to the acknowledgement, in a process of
// its own on the server's core. No HTTP, no request path: what a backlog costs to catch up with.

import { onServerCore } from './cores.ts';
import type { BenchKafka } from './kafka.ts';
import { median } from './statistics.ts';
import { topicOf, type Variant } from './variants.ts';

export interface ShippingRow {
  variant: string;
  cpuUsPerRecord: number;
  recordsPerSecond: number;
  /** Each record once in Kafka, counted there. */
  delivered: boolean;
}

interface ChildResult {
  acknowledged: number;
  records: number;
  seconds: number;
  cpuUs: number;
}

export async function measureShipping(
  variant: Variant,
  kafka: BenchKafka,
  rounds: number,
  dir: string,
): Promise<ShippingRow> {
  const results: ChildResult[] = [];
  const topic = topicOf(variant);
  for (let round = 0; round < rounds; round++) {
    results.push(await ship(variant, kafka.brokers, `${dir}/shipping-${round}`));
  }
  const expected = results.reduce((sum, { records }) => sum + records, 0);
  return {
    variant: variant.name,
    cpuUsPerRecord: median(results.map(({ cpuUs, records }) => cpuUs / records)),
    recordsPerSecond: median(results.map(({ seconds, records }) => records / seconds)),
    delivered: (await kafka.records(topic)) === expected,
  };
}

async function ship(variant: Variant, brokers: string, dir: string): Promise<ChildResult> {
  const child = Bun.spawn(
    onServerCore([process.execPath, 'run', `${import.meta.dir}/shipping-child.ts`]),
    {
      env: {
        ...process.env,
        ...variant.env(dir),
        KAFKA_BROKERS: brokers,
        KAFKA_TOPIC: topicOf(variant),
        JOURNAL_DIR: dir,
      },
      stdout: 'pipe',
      stderr: 'inherit',
    },
  );
  const [output, exitCode] = await Promise.all([child.stdout.text(), child.exited]);
  if (exitCode !== 0) throw new Error(`shipping ended with exit code ${exitCode}`);
  return JSON.parse(output) as ChildResult;
}
