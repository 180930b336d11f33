// A Kafka record batch as the journal would have made it, out of thin air: for what handles batches and
// does not care where they come from.

import {
  BATCH_HEADER_BYTES,
  type ProducerStamp,
  writeClosedHeader,
  writeOpenHeader,
  writeRecord,
  writeStamp,
} from '../../src/record-batch.ts';

const NO_PRODUCER: ProducerStamp = { producerId: -1n, producerEpoch: -1, baseSequence: -1 };

/** `times`: of each record, ms since 1970; all the same if there are fewer. */
export function batchOf(
  values: readonly string[],
  { stamp = NO_PRODUCER, times = [1_764_145_000_123] } = {},
): Buffer {
  const bytes = values.reduce((sum, value) => sum + Buffer.byteLength(value), 0);
  const target = Buffer.alloc(BATCH_HEADER_BYTES + bytes + values.length * 50);
  const [base = 0] = times;
  writeOpenHeader(target, 0, base);
  let end = BATCH_HEADER_BYTES;
  for (const [index, value] of values.entries()) {
    end = writeRecord(target, end, target.length, (times[index] ?? base) - base, index, value);
  }
  writeClosedHeader(target, 0, end, values.length, Math.max(...times));
  writeStamp(target, 0, end, stamp);
  return target.subarray(0, end);
}
