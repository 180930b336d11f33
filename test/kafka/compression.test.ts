// Whole-batch compression: what is unpacked is what was packed, the header says how, the stamp is the
// one the batch carries, the CRC is right for an independent reader, and the journal's bytes stay
// plain.

import { expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { compressBatch } from '../../src/kafka/compression.ts';
import {
  crcMatches,
  readBatchHeader,
  writeClosedHeader,
  writeOpenHeader,
  writeRecord,
  writeStamp,
} from '../../src/record-batch.ts';
import { runs } from '../support/properties.ts';
import { readBatches, type TopicRecord } from '../support/record-batches.ts';

const TIME = 1_764_145_000_123;
const STAMP = { producerId: 1234n, producerEpoch: 5, baseSequence: 6 };

function batchOf(values: readonly string[]): Buffer {
  const bytes = values.reduce((sum, value) => sum + Buffer.byteLength(value) + 40, 100);
  const target = Buffer.alloc(bytes);
  writeOpenHeader(target, 0, TIME);
  let end = 61;
  for (const [index, value] of values.entries()) {
    end = writeRecord(target, end, target.length, index, index, value);
  }
  writeClosedHeader(target, 0, end, values.length, TIME + values.length - 1);
  const batch = target.subarray(0, end);
  writeStamp(batch, 0, end, STAMP);
  return batch;
}

function valuesOf(batch: Buffer): string[] {
  const records: TopicRecord[] = [];
  readBatches(batch, 0, 0, records);
  return records.map(({ value }) => value.toString());
}

for (const [compression, codec] of [
  ['gzip', 1],
  ['zstd', 4],
] as const) {
  test(`${compression}: an independent reader finds the records, codec ${codec} in the header`, async () => {
    const values = Array.from({ length: 50 }, (_, index) => `{"n":${index},"ä":"€"}`);
    const batch = batchOf(values);
    const compressed = await compressBatch(batch, compression);
    expect(compressed.readInt16BE(21)).toBe(codec);
    expect(valuesOf(compressed)).toEqual(values);
    expect(compressed.length).toBeLessThan(batch.length / 2);
  });

  test(`${compression}: stamp, times and record count stay, length and CRC are made anew`, async () => {
    const batch = batchOf(['a', 'b', 'c']);
    const compressed = await compressBatch(batch, compression);
    const header = readBatchHeader(compressed, 0);
    expect(header).toMatchObject({
      ...STAMP,
      bytes: compressed.length,
      baseTimestamp: TIME,
      maxTimestamp: TIME + 2,
      recordCount: 3,
    });
    expect(crcMatches(compressed, 0, header)).toBe(true);
  });

  test(`${compression}: the plain batch stays as it is`, async () => {
    const batch = batchOf(['a', 'b', 'c']);
    const before = Buffer.from(batch);
    await compressBatch(batch, compression);
    expect(batch).toEqual(before);
  });

  test(`${compression}: a stamp that changes meanwhile is the one that goes out`, async () => {
    const batch = batchOf(['a'.repeat(50_000), 'b']);
    const compressing = compressBatch(batch, compression);
    writeStamp(batch, 0, batch.length, { ...STAMP, producerId: 99n, baseSequence: 0 });
    const compressed = await compressing;
    const header = readBatchHeader(compressed, 0);
    expect(header).toMatchObject({ producerId: 99n, baseSequence: 0 });
    expect(crcMatches(compressed, 0, header)).toBe(true);
  });

  test(`${compression}: any records come back`, async () => {
    const values = fc.array(fc.string({ unit: 'grapheme', maxLength: 200 }), { minLength: 1 });
    await fc.assert(
      fc.asyncProperty(values, async (texts) => {
        expect(valuesOf(await compressBatch(batchOf(texts), compression))).toEqual(texts);
      }),
      runs(30),
    );
  });
}
