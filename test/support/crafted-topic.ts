// Topics made by hand, for what hoplog itself never does: records lost, doubled or out of order. A
// record is a click cut down to its id, `b1-7` for sequence 7 of boot b1, or any other text as it is.

import {
  BATCH_HEADER_BYTES,
  writeClosedHeader,
  writeOpenHeader,
  writeRecord,
} from '../../src/record-batch.ts';
import { crc32c } from '../../src/bytes.ts';
import type { FakeCluster } from './fake-broker.ts';

const TIME = Date.UTC(2026, 10, 25, 12);

/** A boot id of 16 hex digits. */
export function bootId(short: string): string {
  return short.padEnd(16, '0');
}

export function craftedValue(text: string): string {
  const [, boot, sequence] = /^(b\d)-(\d+)$/.exec(text) ?? [];
  return boot === undefined ? text : JSON.stringify({ id: `${bootId(boot)}-${sequence}`, a: 'ü' });
}

/** Ids of consecutive sequences. */
export function idsOf(boot: string, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => `${boot}-${first + index}`);
}

/** Appends a batch to a partition; a record's time is its offset in seconds behind 12:00. */
export function appendCrafted(
  fake: FakeCluster,
  partition: number,
  texts: readonly string[],
): void {
  const target = fake.partitions[partition];
  if (!target) throw new Error(`there is no partition ${partition}`);
  const values = texts.map(craftedValue);
  const bytes = Buffer.alloc(BATCH_HEADER_BYTES + values.join('').length * 3 + values.length * 32);
  const from = target.endOffset;
  writeOpenHeader(bytes, 0, TIME + from * 1000);
  let end = BATCH_HEADER_BYTES;
  for (const [index, value] of values.entries()) {
    end = writeRecord(bytes, end, bytes.length, index * 1000, index, value);
  }
  writeClosedHeader(bytes, 0, end, values.length, TIME + (from + values.length - 1) * 1000);
  bytes.writeUInt32BE(crc32c(bytes.subarray(21, end)), 17);
  const { code } = target.append(target.note(bytes.subarray(0, end)));
  if (code !== 0) throw new Error(`the batch is refused with code ${code}`);
}
