// Proves Kafka's batch format as hoplog writes it. What is written is read back by a reader that was
// written apart from it and trusts nothing (support/record-batches.ts); Kafka's own reader follows in
// test/golden.

import { describe, expect, test } from 'bun:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import {
  BATCH_HEADER_BYTES,
  COMPRESSION_CODEC,
  compressedBatch,
  crcMatches,
  nextSequence,
  type ProducerStamp,
  readBatchHeader,
  readRecords,
  RECORD_OVERHEAD_BYTES_MAX,
  type RecordValue,
  recutBatch,
  writeClosedHeader,
  writeOpenHeader,
  writeRecord,
  writeStamp,
} from '../../src/record-batch.ts';
import { readBatches, type TopicRecord } from '../support/record-batches.ts';

const TIME = 1_764_145_000_123;
const STAMP: ProducerStamp = { producerId: 0x1234567890abn, producerEpoch: 7, baseSequence: 90 };
const FILLER = 0xaa;

function batchOf(values: readonly RecordValue[], stamp = STAMP): Buffer {
  const target = Buffer.alloc(values.length * 100_000 + 200, FILLER);
  writeOpenHeader(target, 0, TIME);
  let end = BATCH_HEADER_BYTES;
  for (const [index, value] of values.entries()) {
    end = writeRecord(target, end, target.length, index * 10, index, value);
  }
  writeClosedHeader(target, 0, end, values.length, TIME + (values.length - 1) * 10);
  writeStamp(target, 0, end, stamp);
  return target.subarray(0, end);
}

/** Read as a broker would hand it out, with base offset 0. */
function recordsOf(batch: Buffer): TopicRecord[] {
  const sent = Buffer.from(batch);
  sent.writeBigInt64BE(0n, 0);
  const records: TopicRecord[] = [];
  const next = readBatches(sent, 0, 0, records);
  expect(next).toBe(records.length);
  return records;
}

function valuesOf(batch: Buffer): string[] {
  return recordsOf(batch).map(({ value }) => value.toString('hex'));
}

/** The oracle for text: what Buffer.from makes of it. */
function bytesOf(value: RecordValue): Buffer {
  return typeof value === 'string' || value instanceof Uint8Array
    ? Buffer.from(value as string)
    : Buffer.from('by itself');
}

function hexOf(value: RecordValue): string {
  return bytesOf(value).toString('hex');
}

describe('a record', () => {
  const VALUES: readonly (readonly [name: string, value: RecordValue])[] = [
    ['empty text', ''],
    ['ASCII', '{"path":"/a"}'],
    ['two bytes a character', 'Füße'],
    ['three bytes a character', '漢字'],
    ['a pair of surrogates', '👩‍🚀'],
    ['a lone high surrogate', 'a\ud800b'],
    ['a lone low surrogate at the end', 'a\udfff'],
    ['surrogates the wrong way round', '\udc00\ud800'],
    ['a NUL', 'a\0b'],
    ['no bytes', new Uint8Array()],
    ['bytes', Uint8Array.of(0x81, 0xa1, 0x61, 0xff, 0)],
    ['a view into a larger buffer', Buffer.from('xxmiddlexx').subarray(2, 8)],
    [
      'a value that writes itself',
      {
        byteLength: 9,
        writeTo: (target, position) => target.set(Buffer.from('by itself'), position),
      },
    ],
  ];

  test.each(VALUES)('holds %s as Buffer.from gives it', (_name, value) => {
    expect(valuesOf(batchOf([value]))).toEqual([hexOf(value)]);
  });

  test('holds JSON with lone surrogates as JSON.stringify escapes them', () => {
    const text = JSON.stringify({ agent: '\ud800', path: '\udc00é' });
    const [record] = recordsOf(batchOf([text]));
    expect(JSON.parse(record!.value.toString())).toEqual({ agent: '\ud800', path: '\udc00é' });
  });

  test('is in place where UTF-8 makes its length need one byte more than was guessed', () => {
    // Each length around the borders of one to two and of two to three bytes of varint, for the value
    // as for the whole record: 64 and 8,192 bytes.
    for (const character of ['é', '漢', '👩', 'a']) {
      const bytes = Buffer.byteLength(character);
      for (const border of [64, 8192]) {
        const most = Math.ceil(border / bytes) + 3;
        for (let count = Math.max(0, Math.floor((border - 24) / bytes)); count <= most; count++) {
          const text = character.repeat(count);
          expect(valuesOf(batchOf(['before', text, 'behind']))).toEqual(
            ['before', text, 'behind'].map(hexOf),
          );
        }
      }
    }
  });

  test('has no key, no headers, and its own time', () => {
    const records = recordsOf(batchOf(['a', 'b', 'c']));
    expect(records.every(({ key, headers }) => key === null && headers.length === 0)).toBe(true);
    expect(records.map(({ timestamp }) => timestamp)).toEqual([TIME, TIME + 10, TIME + 20]);
  });

  test('may be older or much younger than its batch', () => {
    for (const delta of [-1, -(2 ** 30), 2 ** 30]) {
      const target = Buffer.alloc(200);
      const end = writeRecord(target, 0, 200, delta, 8200, 'value');
      const [record] = readRecords(target, 0, end);
      expect(record).toMatchObject({ timestampDelta: delta, offsetDelta: 8200 });
      expect(Buffer.from(record!.value).toString()).toBe('value');
    }
  });

  test.each(VALUES)('of %s is written whole below the limit, or not at all', (_name, value) => {
    const at = 5;
    const valueBytes = bytesOf(value).length;
    const surelyEnough = at + RECORD_OVERHEAD_BYTES_MAX + valueBytes;
    for (let limit = at; limit <= surelyEnough + valueBytes * 3; limit++) {
      const target = Buffer.alloc(limit + 64, FILLER);
      const end = writeRecord(target, at, limit, 2 ** 30, 2 ** 24, value);
      if (end < 0) {
        expect(limit).toBeLessThan(surelyEnough);
        expect(target).toEqual(Buffer.alloc(limit + 64, FILLER));
        continue;
      }
      expect(end).toBeLessThanOrEqual(limit);
      expect(target.subarray(0, at)).toEqual(Buffer.alloc(at, FILLER));
      expect(target.subarray(limit)).toEqual(Buffer.alloc(64, FILLER));
      const [record] = readRecords(target, at, end);
      expect(Buffer.from(record!.value).toString('hex')).toBe(hexOf(value));
    }
  });

  test('that is torn ends the reading and is not read', () => {
    const batch = batchOf(['first', 'second', 'third']);
    const [first, second] = [...readRecords(batch, BATCH_HEADER_BYTES, batch.length)];
    const secondEnd = second!.value.byteOffset - batch.byteOffset + second!.value.length + 1;
    for (let end = BATCH_HEADER_BYTES; end < batch.length; end++) {
      const values = [...readRecords(batch, BATCH_HEADER_BYTES, end)].map(({ value }) => value);
      const whole = [first!.value, second!.value];
      const firstEnd = secondEnd - 'second'.length - 7;
      expect(values).toEqual(whole.slice(0, end >= secondEnd ? 2 : end >= firstEnd ? 1 : 0));
    }
  });
});

test.each([
  ['longer than its record', [20, 0, 0, 0, 1, 60]],
  ['negative', [20, 0, 0, 0, 1, 1]],
])('a value whose length is %s ends the reading', (_name, head) => {
  const bytes = Buffer.alloc(100);
  bytes.set(head);
  expect([...readRecords(bytes, 0, bytes.length)]).toEqual([]);
});

describe('a batch header', () => {
  test('says what was written', () => {
    const batch = batchOf(['a', 'b']);
    expect(readBatchHeader(batch, 0)).toEqual({
      ...STAMP,
      bytes: batch.length,
      crc: batch.readUInt32BE(17),
      attributes: 0,
      baseTimestamp: TIME,
      maxTimestamp: TIME + 10,
      recordCount: 2,
    });
    expect(batch.readInt32BE(23)).toBe(1); // lastOffsetDelta
    expect(batch.readInt8(16)).toBe(2);
  });

  test('has no producer and no sequence before its stamp', () => {
    const target = Buffer.alloc(100, FILLER);
    writeOpenHeader(target, 10, TIME);
    const { producerId, producerEpoch, baseSequence } = readBatchHeader(target, 10);
    expect([producerId, producerEpoch, baseSequence]).toEqual([-1n, -1, -1]);
    expect(target.subarray(0, 10)).toEqual(Buffer.alloc(10, FILLER));
    expect(target.subarray(71)).toEqual(Buffer.alloc(29, FILLER));
  });

  test.each([0, 1, -1, -86_400_000, 2 ** 32 - 1, 2 ** 32, 253_402_300_799_999])(
    'holds the time %d',
    (time) => {
      const target = Buffer.alloc(100);
      writeOpenHeader(target, 0, time);
      writeClosedHeader(target, 0, 90, 1, time);
      expect(readBatchHeader(target, 0)).toMatchObject({ baseTimestamp: time, maxTimestamp: time });
    },
  );

  test('has a CRC over all that the broker leaves alone', () => {
    const batch = batchOf(['a', 'b']);
    expect(crcMatches(batch, 0, readBatchHeader(batch, 0))).toBe(true);
    for (let at = 0; at < batch.length; at++) {
      const changed = Buffer.from(batch);
      changed[at]! ^= 0x10;
      // Base offset, length (a longer batch has another CRC anyway), leader epoch, magic.
      if (at >= 8 && at < 12) continue;
      expect(crcMatches(changed, 0, readBatchHeader(changed, 0))).toBe(at < 17);
    }
  });
});

describe('a recut batch', () => {
  const values = ['zero', 'öne', 'two'.repeat(60), '', 'four'];
  const whole = batchOf(values);

  test('holds the chosen records under the sequences they had', () => {
    for (let from = 0; from < values.length; from++) {
      for (let to = from + 1; to <= values.length; to++) {
        const cut = recutBatch(whole, from, to);
        const records = recordsOf(cut); // checks the CRC
        expect(records.map(({ value }) => value.toString())).toEqual(values.slice(from, to));
        expect(records.map(({ timestamp }) => timestamp)).toEqual(
          values.map((_, index) => TIME + index * 10).slice(from, to),
        );
        expect(readBatchHeader(cut, 0)).toMatchObject({
          ...STAMP,
          baseSequence: STAMP.baseSequence + from,
          recordCount: to - from,
          bytes: cut.length,
        });
      }
    }
  });

  test('dates nothing later than it is told, and leaves the rest as it was', () => {
    const times = values.map((_, index) => TIME + index * 10);
    for (const latest of [TIME - 86_400_000, TIME, TIME + 15, TIME + 40, TIME + 1000]) {
      const cut = recutBatch(whole, 0, values.length, latest);
      const records = recordsOf(cut);
      const expected = times.map((time) => Math.min(time, latest));
      expect(records.map(({ timestamp }) => timestamp)).toEqual(expected);
      expect(records.map(({ value }) => value.toString())).toEqual(values);
      expect(readBatchHeader(cut, 0)).toMatchObject({
        ...STAMP,
        baseTimestamp: Math.min(TIME, latest),
        maxTimestamp: Math.min(TIME + 40, latest),
      });
    }
  });

  test('of a batch without a producer has none either', () => {
    const plain = batchOf(values, { producerId: -1n, producerEpoch: -1, baseSequence: -1 });
    expect(readBatchHeader(recutBatch(plain, 2, 4), 0)).toMatchObject({
      producerId: -1n,
      producerEpoch: -1,
      baseSequence: -1,
    });
  });

  test('goes on at sequence 0 behind the highest', () => {
    const last = batchOf(values, { ...STAMP, baseSequence: 2 ** 31 - 2 });
    expect(readBatchHeader(recutBatch(last, 2, 5), 0).baseSequence).toBe(0);
  });

  test('can be cut again', () => {
    const cut = recutBatch(recutBatch(whole, 1, 5), 1, 3);
    expect(recordsOf(cut).map(({ value }) => value.toString())).toEqual(values.slice(2, 4));
    expect(readBatchHeader(cut, 0).baseSequence).toBe(STAMP.baseSequence + 2);
  });

  test('leaves the whole as it was', () => {
    const before = Buffer.from(whole);
    recutBatch(whole, 1, 3);
    expect(whole).toEqual(before);
  });
});

describe('a compressed batch', () => {
  const values = Array.from({ length: 50 }, (_, index) => `{"id":"${index}"}`);
  const whole = batchOf(values);
  const records = gzipSync(whole.subarray(BATCH_HEADER_BYTES));
  const packed = compressedBatch(whole, COMPRESSION_CODEC.gzip, records);

  test('holds the same records and a CRC of its own', () => {
    expect(recordsOf(packed)).toEqual(recordsOf(whole));
    const unpacked = gunzipSync(packed.subarray(BATCH_HEADER_BYTES));
    expect(unpacked.equals(whole.subarray(BATCH_HEADER_BYTES))).toBe(true);
  });

  test('differs in nothing else but length, CRC and codec', () => {
    const header = readBatchHeader(packed, 0);
    const changed = { attributes: 1, bytes: packed.length, crc: header.crc };
    expect(header).toEqual({ ...readBatchHeader(whole, 0), ...changed });
  });
});

test.each([
  [0, 0, 0],
  [0, 5, 5],
  [2 ** 31 - 1, 1, 0],
  [2 ** 31 - 3, 5, 2],
  [2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 2],
])(
  'fault 80: sequence %d and %d records on is %d: numbers wrap at 2^31',
  (sequence, count, next) => {
    expect(nextSequence(sequence, count)).toBe(next);
  },
);
