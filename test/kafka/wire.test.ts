// Kafka's primitive types: what is written is, byte for byte, what the protocol guide says, what is
// read is what was written, and no bytes from the network, however short or absurd, do more harm than
// ResponseMalformed.

import { describe, expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { ResponseMalformed, WireReader, WireWriter } from '../../src/kafka/wire.ts';
import { runs } from '../support/properties.ts';

function written(write: (writer: WireWriter) => void, bytesMax = 64): number[] {
  const writer = new WireWriter(bytesMax);
  write(writer);
  return [...writer.done()];
}

function reader(...bytes: number[]): WireReader {
  return new WireReader(Buffer.from(bytes));
}

describe('writer', () => {
  test('numbers are big-endian and signed', () => {
    expect(written((w) => w.int8(-2))).toEqual([0xfe]);
    expect(written((w) => w.int16(-2))).toEqual([0xff, 0xfe]);
    expect(written((w) => w.int32(0x01020304))).toEqual([1, 2, 3, 4]);
    expect(written((w) => w.int64(-2n))).toEqual([255, 255, 255, 255, 255, 255, 255, 254]);
  });

  test('a string is its UTF-8 length and its UTF-8', () => {
    expect(written((w) => w.string('é€'))).toEqual([0, 5, 0xc3, 0xa9, 0xe2, 0x82, 0xac]);
    expect(written((w) => w.string(''))).toEqual([0, 0]);
  });

  test('a compact string gives its length plus one', () => {
    expect(written((w) => w.compactString('log'))).toEqual([4, 0x6c, 0x6f, 0x67]);
    const long = 'x'.repeat(200);
    expect(written((w) => w.compactString(long), 256).slice(0, 2)).toEqual([0xc9, 0x01]);
  });

  test('unsigned varints take seven bits a byte', () => {
    expect(written((w) => w.uvarint(0))).toEqual([0]);
    expect(written((w) => w.uvarint(127))).toEqual([0x7f]);
    expect(written((w) => w.uvarint(128))).toEqual([0x80, 0x01]);
    expect(written((w) => w.uvarint(300))).toEqual([0xac, 0x02]);
  });

  test('only what was written is handed out', () => {
    const writer = new WireWriter(100).int8(1).raw(Buffer.from([9, 8]));
    expect([...writer.done()]).toEqual([1, 9, 8]);
  });

  test('more than the size known beforehand is an error, never a silent cut', () => {
    expect(() => new WireWriter(3).int32(1)).toThrow();
    expect(() => new WireWriter(3).raw(Buffer.alloc(4))).toThrow();
  });
});

describe('reader', () => {
  test('reads what was written', () => {
    const value = fc.record({
      int16: fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 }),
      int32: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      int64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      uvarint: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      text: fc.string({ unit: 'grapheme' }),
    });
    fc.assert(
      fc.property(value, ({ int16, int32, int64, uvarint, text }) => {
        const writer = new WireWriter(2000).int16(int16).int32(int32).int64(int64);
        writer.uvarint(uvarint).string(text).compactString(text);
        const back = new WireReader(writer.done());
        expect([back.int16(), back.int32(), back.int64()]).toEqual([int16, int32, int64]);
        expect([back.uvarint(), back.string(), back.compactString()]).toEqual([
          uvarint,
          text,
          text,
        ]);
      }),
      runs(200),
    );
  });

  test('null strings and bytes read as empty', () => {
    expect(reader(0xff, 0xff).string()).toBe('');
    expect(reader(0).compactString()).toBe('');
    expect(reader(0xff, 0xff, 0xff, 0xff).bytes()).toHaveLength(0);
    expect(reader(0xff, 0xff, 0xff, 0xff).array(() => 1)).toEqual([]);
    expect(reader(0).compactArray(() => 1)).toEqual([]);
  });

  test('bytes are a view of the answer, not a copy', () => {
    const answer = Buffer.from([0, 0, 0, 2, 7, 8]);
    const bytes = new WireReader(answer).bytes();
    answer[5] = 9;
    expect([...bytes]).toEqual([7, 9]);
  });

  test('tags are passed over', () => {
    const tagged = reader(2, 0, 1, 0xaa, 5, 2, 0xbb, 0xcc, 0, 7);
    tagged.tags();
    expect(tagged.int16()).toBe(7);
  });

  test('an end that comes too early is ResponseMalformed for every type', () => {
    const reads: ((r: WireReader) => unknown)[] = [
      (r) => r.int16(),
      (r) => r.int32(),
      (r) => r.int64(),
      (r) => r.uvarint(),
      (r) => r.string(),
      (r) => r.bytes(),
      (r) => r.compactString(),
      (r) => r.array(() => r.int16()),
      (r) => r.compactArray(() => r.int16()),
      (r) => r.skip(1),
    ];
    for (const read of reads) expect(() => read(reader())).toThrow(ResponseMalformed);
    expect(() => reader(0, 5, 1).string()).toThrow(ResponseMalformed);
    expect(() => reader(0, 0, 0, 5, 1).bytes()).toThrow(ResponseMalformed);
    expect(() => reader(0xff, 0xff, 0xff, 0xff, 0x7f).tags()).toThrow(ResponseMalformed);
  });

  test('a skip cannot go backwards', () => {
    expect(() => reader(1, 2, 3).skip(-1)).toThrow(ResponseMalformed);
  });

  test('a varint longer than five bytes is refused', () => {
    expect(() => reader(0x80, 0x80, 0x80, 0x80, 0x80, 1).uvarint()).toThrow(ResponseMalformed);
    expect(reader(0xff, 0xff, 0xff, 0xff, 0x0f).uvarint()).toBe(2 ** 32 - 1);
  });

  test('an absurd count is refused before anything is allocated', () => {
    let items = 0;
    const count = (): number => ++items;
    expect(() => reader(0x7f, 0xff, 0xff, 0xff).array(count)).toThrow(ResponseMalformed);
    expect(() => reader(0xff, 0xff, 0xff, 0xff, 0x0f).compactArray(count)).toThrow(
      ResponseMalformed,
    );
    expect(items).toBe(0);
  });
});
