// What the command `verify` says of a topic, so that a test can hold it against what the server named.

import type { Range } from '../../src/tools/tally.ts';
import { idsOf } from './crafted-topic.ts';
import { runHoplog } from './server.ts';

export interface Ranges {
  readonly count: number;
  readonly ranges: readonly Range[];
}

export interface Verified {
  readonly exitCode: number;
  readonly records: number;
  readonly complete: boolean;
  readonly boots: readonly {
    readonly bootId: string;
    readonly last: number;
    readonly records: number;
    readonly missing: Ranges;
    readonly duplicate: Ranges;
    readonly late: Ranges;
    readonly trimmed: Ranges;
  }[];
}

export async function verifyTopic(brokers: string, topic: string): Promise<Verified> {
  const options = { KAFKA_BROKERS: brokers, KAFKA_TOPIC: topic };
  const { exitCode, stdout, stderr } = await runHoplog(['verify', '--json'], options);
  if (stdout === '') throw new Error(`verify ended with ${exitCode}: ${stderr}`);
  return { exitCode, ...(JSON.parse(stdout) as Omit<Verified, 'exitCode'>) };
}

/** One entry a record, as its `id` has it. */
export function verifiedIds(
  { boots }: Verified,
  kind: 'missing' | 'duplicate' | 'late' | 'trimmed',
): string[] {
  return boots.flatMap((boot) =>
    boot[kind].ranges.flatMap(({ first, last }) => idsOf(boot.bootId, first, last)),
  );
}
