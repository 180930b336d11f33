// Second opinions on what hoplog wrote: Kafka's own log reader and consumer, and librdkafka's kcat.
// A batch that these read as meant is one that the world can read.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runKafkaTool } from './kafka-jars.ts';
import type { KafkaCluster } from './kafka.ts';
import { tempDir } from './temp-dir.ts';

const CONSUME_MAX_MS = 20_000;

/** What Kafka's DumpLogSegments says about record batches: a line a batch, a line a record. */
export async function dumpLogSegments(batches: Uint8Array): Promise<string> {
  using dir = tempDir();
  // The tool takes the base offset from the name.
  const segment = join(dir.path, '00000000000000000000.log');
  writeFileSync(segment, batches);
  const args = ['--deep-iteration', '--print-data-log', '--files', segment];
  return await runKafkaTool('org.apache.kafka.tools.DumpLogSegments', args);
}

/** Values of the first `maxMessages` records as Kafka's Java consumer reads them. */
export async function consoleConsumer(
  cluster: KafkaCluster,
  topic: string,
  maxMessages: number,
): Promise<string[]> {
  const from = ['--bootstrap-server', cluster.directBrokers, '--topic', topic, '--from-beginning'];
  const limits = ['--max-messages', String(maxMessages), '--timeout-ms', String(CONSUME_MAX_MS)];
  const args = [...from, ...limits];
  const output = await runKafkaTool('org.apache.kafka.tools.consumer.ConsoleConsumer', args);
  return lines(output);
}

/** Values of all records as librdkafka reads them; undefined when kcat is not installed. */
export async function kcat(cluster: KafkaCluster, topic: string): Promise<string[] | undefined> {
  if (Bun.which('kcat') === null) return undefined;
  const command = ['kcat', '-C', '-q', '-e', '-o', 'beginning', '-t', topic];
  const child = Bun.spawn([...command, '-b', cluster.directBrokers], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
    timeout: CONSUME_MAX_MS,
  });
  const [output, complaints, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (exitCode !== 0) throw new Error(`kcat exited with ${exitCode}: ${complaints}`);
  return lines(output);
}

function lines(output: string): string[] {
  return output.split('\n').slice(0, -1);
}
