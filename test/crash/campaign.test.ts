// The promise itself, faults 41, 42 and 43: hoplog is SIGKILLed again and again under load, at moments and
// at named points, also while it recovers, three times in a row, with Kafka's own faults meanwhile. In the
// end Kafka holds what was answered, once, unaltered and in order. The same as `npm run test:crash`, in
// which HOPLOG_SEED is called --seed. HOPLOG_CRASH_ROUNDS sets the number of rounds.

import { test } from 'bun:test';
import { describeKafka } from '../support/describe-kafka.ts';
import { extent, slowTest } from '../support/extent.ts';
import { seeded } from '../support/seed.ts';
import { campaign, summaryOf } from './campaign.ts';

const ROUNDS = Number(process.env['HOPLOG_CRASH_ROUNDS'] ?? extent(50, 200));
const ROUNDS_OF_THREE = 100;
const TEST_MAX_MS = 120_000 + ROUNDS * 6_000;

const onProgress = (): void => {};

describeKafka('hoplog killed under load', () => {
  test(
    `faults 41, 42 and 43: over ${ROUNDS} rounds of SIGKILL, what was answered is in Kafka once and in order`,
    async () => {
      await seeded(async (random) => {
        const outcome = await campaign({ rounds: ROUNDS, nodes: 1, random, onProgress });
        process.stderr.write(`${summaryOf(outcome)}\n`);
      });
    },
    TEST_MAX_MS,
  );

  slowTest(
    'faults 41, 42, 43 and 7: the same with three Kafka nodes, where leaders move meanwhile',
    async () => {
      await seeded(async (random) => {
        const outcome = await campaign({ rounds: ROUNDS_OF_THREE, nodes: 3, random, onProgress });
        process.stderr.write(`${summaryOf(outcome)}\n`);
      });
    },
    TEST_MAX_MS,
  );
});
