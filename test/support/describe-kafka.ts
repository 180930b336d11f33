// A test suite that needs a real Kafka: runs where there is Java, elsewhere says loudly why not.
// Apart from kafka.ts, because the bench starts Kafka too and has no `describe`.

import { describe } from 'bun:test';
import { kafkaUnavailable } from './kafka-jars.ts';

export function describeKafka(name: string, suite: () => void): void {
  const reason = kafkaUnavailable();
  if (reason === undefined) {
    describe(name, suite);
    return;
  }
  process.stderr.write(`SKIPPED "${name}", which needs a real Kafka: ${reason}\n`);
  describe.skip(name, suite);
}
