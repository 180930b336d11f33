// The record batches of a topic as they lie on a broker's disk: what was stored, not what a client
// makes of it. Reads a partition's first log file, which is enough for a test's megabyte.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KafkaNode } from './kafka-node.ts';

const FIRST_LOG = '00000000000000000000.log';
const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

export interface StoredBatch {
  readonly bytes: number;
  readonly codec: string;
  /** -1 = sent without idempotence. */
  readonly producerId: bigint;
  readonly recordCount: number;
}

export function storedBatches(node: KafkaNode, topic: string, partition: number): StoredBatch[] {
  const log = readFileSync(join(node.dataDir, `${topic}-${partition}`, FIRST_LOG));
  const batches: StoredBatch[] = [];
  for (let at = 0; at < log.length; at += batches.at(-1)!.bytes) {
    batches.push({
      bytes: 12 + log.readInt32BE(at + 8),
      codec: CODECS[log.readInt16BE(at + 21) & 7] ?? 'unknown',
      producerId: log.readBigInt64BE(at + 43),
      recordCount: log.readInt32BE(at + 57),
    });
  }
  return batches;
}
