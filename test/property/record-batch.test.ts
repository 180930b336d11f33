// For any values, ASCII, multibyte, lone surrogates or bytes: a batch written by hoplog is read back
// equal by a reader written apart from it, whole, in parts and compressed; and no record is written
// past its limit.

import { expect, setDefaultTimeout, test } from 'bun:test';
import * as fc from 'fast-check';
import { compressBatch } from '../../src/kafka/compression.ts';
import {
  BATCH_HEADER_BYTES,
  readBatchHeader,
  readRecords,
  RECORD_OVERHEAD_BYTES_MAX,
  recutBatch,
  writeClosedHeader,
  writeOpenHeader,
  writeRecord,
  writeStamp,
} from '../../src/record-batch.ts';
import { PROPERTY_MAX_MS, runs } from '../support/properties.ts';
import { readBatches, type TopicRecord } from '../support/record-batches.ts';
import { anyValue } from '../support/texts.ts';

setDefaultTimeout(PROPERTY_MAX_MS);

interface Written {
  readonly value: string | Uint8Array;
  readonly timestamp: number;
}

const BASE = 1_764_145_000_123;
const delta = fc.oneof(
  fc.integer({ min: -5, max: 5000 }),
  fc.integer({ min: -(2 ** 30), max: 2 ** 30 }),
);
const records: fc.Arbitrary<Written[]> = fc.array(
  fc.record({ value: anyValue, timestamp: delta.map((milliseconds) => BASE + milliseconds) }),
  { minLength: 1, maxLength: 30 },
);
const stamp = fc.record({
  producerId: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
  producerEpoch: fc.integer({ min: 0, max: 32_767 }),
  baseSequence: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
});

function batchOf(written: readonly Written[]): Buffer {
  const bytes = written.reduce(
    (sum, { value }) => sum + Buffer.byteLength(bytesOf(value)) + 32,
    100,
  );
  const target = Buffer.alloc(bytes, 0xcc);
  writeOpenHeader(target, 0, BASE);
  let end = BATCH_HEADER_BYTES;
  for (const [index, { value, timestamp }] of written.entries()) {
    end = writeRecord(target, end, target.length, timestamp - BASE, index, value);
    expect(end).toBeGreaterThan(0);
  }
  const maxTimestamp = Math.max(BASE, ...written.map(({ timestamp }) => timestamp));
  writeClosedHeader(target, 0, end, written.length, maxTimestamp);
  return target.subarray(0, end);
}

/** What Buffer.from says the bytes are: the oracle for text. */
function bytesOf(value: string | Uint8Array): Buffer {
  return Buffer.from(value as string);
}

function seen(batch: Buffer): object[] {
  const sent = Buffer.from(batch).fill(0, 0, 8);
  const found: TopicRecord[] = [];
  readBatches(sent, 0, 0, found);
  return found.map(({ value, timestamp, offset }) => ({
    value: value.toString('hex'),
    timestamp,
    offset,
  }));
}

function meant(written: readonly Written[]): object[] {
  return written.map(({ value, timestamp }, offset) => ({
    value: bytesOf(value).toString('hex'),
    timestamp,
    offset,
  }));
}

test('any records are read back equal, by the other reader and by our own', () => {
  fc.assert(
    fc.property(records, stamp, (written, producer) => {
      const batch = batchOf(written);
      writeStamp(batch, 0, batch.length, producer);
      expect(seen(batch)).toEqual(meant(written));
      const own = [...readRecords(batch, BATCH_HEADER_BYTES, batch.length)];
      expect(own.map(({ value }) => Buffer.from(value).toString('hex'))).toEqual(
        written.map(({ value }) => bytesOf(value).toString('hex')),
      );
      expect(readBatchHeader(batch, 0)).toMatchObject({ ...producer, recordCount: written.length });
    }),
    runs(500),
  );
});

test('any batch cut into two has all its records, each under the sequence it had', () => {
  fc.assert(
    fc.property(records, stamp, fc.nat(), (written, producer, seed) => {
      const batch = batchOf(written);
      writeStamp(batch, 0, batch.length, producer);
      const at = 1 + (seed % written.length);
      const parts = [recutBatch(batch, 0, at)];
      if (at < written.length) parts.push(recutBatch(batch, at, written.length));
      expect(seen(parts[0]!)).toEqual(meant(written.slice(0, at)));
      if (!parts[1]) return;
      expect(seen(parts[1])).toEqual(meant(written.slice(at)));
      const { baseSequence } = readBatchHeader(parts[1], 0);
      expect(BigInt(baseSequence)).toBe((BigInt(producer.baseSequence) + BigInt(at)) % 2n ** 31n);
    }),
    runs(300),
  );
});

test('any batch, compressed, is read back equal with the stamp it had', async () => {
  await fc.assert(
    fc.asyncProperty(
      records,
      stamp,
      fc.constantFrom('gzip', 'zstd'),
      async (written, producer, codec) => {
        const batch = batchOf(written);
        writeStamp(batch, 0, batch.length, producer);
        const compressed = await compressBatch(batch, codec);
        expect(seen(compressed)).toEqual(meant(written));
        expect(readBatchHeader(compressed, 0)).toMatchObject(producer);
      },
    ),
    runs(150),
  );
});

test('any record is written between its position and its limit, or not at all', () => {
  fc.assert(
    fc.property(
      anyValue,
      fc.nat(20),
      fc.nat(100),
      delta,
      fc.nat(2 ** 24),
      (value, at, room, when, index) => {
        // Around the size where it just fits.
        const limit = at + Math.max(0, bytesOf(value).length + room - 60);
        const target = Buffer.alloc(limit + 16, 0xcc);
        const end = writeRecord(target, at, limit, when, index, value);
        const untouched = end < 0 ? target : target.subarray(limit);
        expect(untouched.equals(Buffer.alloc(untouched.length, 0xcc))).toBe(true);
        expect(target.subarray(0, at).equals(Buffer.alloc(at, 0xcc))).toBe(true);
        if (end < 0) {
          expect(limit).toBeLessThan(at + RECORD_OVERHEAD_BYTES_MAX + bytesOf(value).length);
          return;
        }
        const [record] = readRecords(target, at, end);
        expect(record).toMatchObject({ timestampDelta: when, offsetDelta: index });
        expect(bytesOf(value).equals(record!.value)).toBe(true);
      },
    ),
    runs(3000),
  );
});

test('any bytes at all are walked without a throw, and no value lies outside of them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(80), (bytes, seed) => {
      const to = Math.min(seed, bytes.length);
      for (const { value } of readRecords(bytes, 0, to)) {
        expect(value.byteOffset + value.length).toBeLessThanOrEqual(bytes.byteOffset + to);
      }
    }),
    runs(5000),
  );
});
