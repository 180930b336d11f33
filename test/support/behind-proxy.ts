// A fault test behind the proxy: a topic, a proxy and a server under load of its own, on a cluster that
// many tests share. The proxy's random numbers are seeded, the seed is printed when the test fails.

import { FaultProxy, nodesOf } from './fault-proxy.ts';
import type { KafkaCluster } from './kafka.ts';
import type { TopicSpec } from './kafka-wire.ts';
import { type Scenario, type ScenarioOptions, underLoad } from './scenario.ts';
import { type Random, seeded } from './seed.ts';

export interface BehindProxy extends Scenario {
  readonly proxy: FaultProxy;
  readonly random: Random;
}
export type DuringFaults = (hoplog: BehindProxy) => Promise<void>;
export type Setting = Partial<ScenarioOptions> & Partial<TopicSpec>;

/** `during` begins when records are delivered already. */
export async function behindProxy(
  kafka: KafkaCluster,
  topic: string,
  during: DuringFaults,
  { partitions = 3, replicationFactor = -1, configs = {}, ...options }: Setting = {},
): Promise<void> {
  await kafka.createTopic({ name: topic, partitions, replicationFactor, configs });
  await seeded(async (random) => {
    await using proxy = await FaultProxy.start(nodesOf(kafka), { random });
    await underLoad(
      kafka,
      { topic, proxy, load: { perSecond: 1_500 }, ...options },
      async (hoplog) => {
        await hoplog.delivers(100);
        await during({ ...hoplog, proxy, random });
      },
    );
  });
}
