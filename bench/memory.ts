// Does memory stay flat? One variant a time under full load for a minute, its resident memory read
// every second. Anonymous memory (where a leak shows) and file-backed memory (the journal, which
// fills up to its bound and is the kernel's to take back) are kept apart. The medians of the first
// and the last third are compared; a third is long enough to hold several collections.

import { Contestant } from './contestant.ts';
import { newOutcome, type Outcome, settle } from './entry.ts';
import type { BenchKafka } from './kafka.ts';
import type { Memory } from './proc.ts';
import { median } from './statistics.ts';
import type { Variant } from './variants.ts';

const sampleMs = 1_000;

export interface MemoryRow extends Outcome {
  requestsPerSecond: number;
  samples: Memory[];
  first: Memory;
  last: Memory;
}

export async function measureMemory(
  variant: Variant,
  kafka: BenchKafka,
  seconds: number,
  dir: string,
  stack: AsyncDisposableStack,
): Promise<MemoryRow> {
  const contestant = Contestant.start(stack, variant, kafka.brokers, dir);
  await contestant.ready();
  const load = contestant.load(seconds);
  const samples: Memory[] = [];
  for (let second = 1; second < seconds; second++) {
    // The load ends early only by failing, and then this throws.
    await Promise.race([Bun.sleep(sampleMs), load]);
    samples.push(contestant.memory());
  }
  const burst = await load;
  const outcome = newOutcome(variant);
  outcome.failure = await contestant.stop();
  outcome.peakMiB = samples.at(-1)?.peakMiB ?? null;
  await settle(outcome, contestant, kafka);
  const third = Math.max(1, Math.floor(samples.length / 3));
  return {
    ...outcome,
    requestsPerSecond: burst.requests / (burst.durationUs / 1e6),
    samples,
    first: medians(samples.slice(0, third)),
    last: medians(samples.slice(-third)),
  };
}

function medians(samples: Memory[]): Memory {
  return {
    peakMiB: median(samples.map((sample) => sample.peakMiB)),
    residentMiB: median(samples.map((sample) => sample.residentMiB)),
    anonMiB: median(samples.map((sample) => sample.anonMiB)),
    fileMiB: median(samples.map((sample) => sample.fileMiB)),
  };
}
