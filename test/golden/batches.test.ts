// Batches of the journal, as they are sent, read by Kafka's own log reader: valid for it, whole, with
// the records that were appended; plain, gzip and zstd, recut, and sealed by a start after a kill.

import { beforeAll, expect, test } from 'bun:test';
import { compressBatch } from '../../src/kafka/compression.ts';
import { produceRequest } from '../../src/kafka/protocol.ts';
import { recutBatch } from '../../src/record-batch.ts';
import { describeKafka } from '../support/describe-kafka.ts';
import { copyAsKilled, openJournal, type OpenJournal, takeAll } from '../support/journals.ts';
import { dumpLogSegments } from '../support/kafka-tools.ts';
import { tempDir } from '../support/temp-dir.ts';

const DUMP_MAX_MS = 60_000;
const TIME = 1_764_145_000_123;
const FIRST_SEQUENCE = 2 ** 31 - 5;

/** The records differ in time by 5 ms, but for a clock that goes back in the middle. */
const RECORDS = Array.from({ length: 20 }, (_, index) => ({
  value: [
    '{"runtime_param":"runtimeDataString","async_param":"asyncDataString"}',
    '',
    JSON.stringify({ lone: '\ud800', control: '\n\u0007' }),
    'x'.repeat(100 + index),
    `Füße 漢字 👩‍🚀 ${'é'.repeat(index * 3)}`,
  ][index % 5]!,
  time: TIME + index * 5 - (index === 10 ? 3_600_000 : 0),
}));

interface DumpedRecord {
  readonly valueSize: number;
  readonly payload: string;
  readonly time: number;
  readonly sequence: number;
}

interface DumpedBatch {
  readonly fields: Readonly<Record<string, string>>;
  readonly records: readonly DumpedRecord[];
}

function append(open: OpenJournal): void {
  for (const { value, time } of RECORDS) expect(open.journal.append(value, time)).toBe('appended');
}

/** Places and hands out all batches, as the producer does. */
function placed({ journal }: OpenJournal): Buffer[] {
  let sequence = FIRST_SEQUENCE;
  return takeAll(journal).map((batch) => {
    const stamp = { producerId: 4711n, producerEpoch: 3, baseSequence: sequence };
    journal.place(batch, { ...stamp, partition: 0 });
    sequence = (sequence + batch.recordCount) % 2 ** 31;
    return Buffer.from(journal.bytesOf(batch));
  });
}

/** The batches as a broker stores them: what the requests carry, with offsets given. */
function stored(batches: readonly Buffer[]): Buffer {
  let offset = 0n;
  const log = batches.map((batch) => {
    const { body } = produceRequest('log', 0, -1, 1000, batch);
    const sent = Buffer.concat([...body]).subarray(-batch.length);
    expect([sent.readBigInt64BE(0), sent.readInt32BE(12)]).toEqual([0n, -1]);
    sent.writeBigInt64BE(offset, 0);
    offset += BigInt(sent.readInt32BE(57));
    return sent;
  });
  return Buffer.concat(log);
}

function parse(dump: string): DumpedBatch[] {
  const batches: { fields: Record<string, string>; records: DumpedRecord[] }[] = [];
  for (const line of dump.split('\n')) {
    if (line.startsWith('baseOffset')) {
      const fields = [...line.matchAll(/(\w+): (\S+)/g)].map(([, name, text]) => [name!, text!]);
      batches.push({ fields: Object.fromEntries(fields), records: [] });
    }
    const record =
      /^\| offset: \d+ CreateTime: (\d+) keySize: -1 valueSize: (\d+) sequence: (\d+) headerKeys: \[\] payload: (.*)$/.exec(
        line,
      );
    if (!record) continue;
    const [time, valueSize, sequence] = record.slice(1, 4).map(Number);
    const parsed = { time: time!, valueSize: valueSize!, sequence: sequence!, payload: record[4]! };
    batches.at(-1)!.records.push(parsed);
  }
  return batches;
}

/** Both sides, but for payloads that Java prints in the charset of its terminal. */
function printable(records: readonly DumpedRecord[]): DumpedRecord[] {
  return records.map((record) => ({
    ...record,
    payload: record.payload.length === record.valueSize ? record.payload : 'not ASCII',
  }));
}

function expected(from: number, to: number): DumpedRecord[] {
  return printable(
    RECORDS.slice(from, to).map(({ value, time }, index) => ({
      valueSize: Buffer.byteLength(value),
      payload: value,
      time,
      sequence: (FIRST_SEQUENCE + from + index) % 2 ** 31,
    })),
  );
}

describeKafka('DumpLogSegments', () => {
  const logs = { plain: [], gzip: [], zstd: [], recut: [], killed: [] } as Record<string, Buffer[]>;
  let dumped: readonly DumpedBatch[] = [];

  function batchesOf(name: string): readonly DumpedBatch[] {
    const names = Object.keys(logs);
    const before = names.slice(0, names.indexOf(name)).flatMap((other) => logs[other]!);
    return dumped.slice(before.length, before.length + logs[name]!.length);
  }

  beforeAll(async () => {
    using dir = tempDir();
    using killed = tempDir();
    await using open = openJournal(dir.path);
    append(open);
    copyAsKilled(dir.path, killed.path);
    open.journal.seal();
    const plain = placed(open);
    logs['plain'] = plain;
    for (const codec of ['gzip', 'zstd'] as const) {
      logs[codec] = await Promise.all(plain.map((batch) => compressBatch(batch, codec)));
    }
    logs['recut'] = [recutBatch(plain[0]!, 0, 2), recutBatch(plain[0]!, 2, 5)];
    await using restarted = openJournal(killed.path);
    logs['killed'] = placed(restarted);
    dumped = parse(await dumpLogSegments(stored(Object.values(logs).flat())));
  }, DUMP_MAX_MS);

  test('finds every batch valid, and none besides', () => {
    expect(dumped).toHaveLength(Object.values(logs).flat().length);
    for (const { fields } of dumped) {
      expect(fields).toMatchObject({
        isvalid: 'true',
        magic: '2',
        producerId: '4711',
        producerEpoch: '3',
        isTransactional: 'false',
        isControl: 'false',
      });
    }
  });

  test.each(['plain', 'gzip', 'zstd', 'killed'])(
    'reads the records of %s batches as they were appended',
    (name) => {
      const batches = batchesOf(name);
      expect(batches.length).toBeGreaterThan(1);
      const codec = name === 'killed' ? 'none' : name.replace('plain', 'none');
      for (const { fields } of batches) expect(fields['compresscodec']).toBe(codec);
      const records = batches.flatMap((batch) => batch.records);
      expect(printable(records)).toEqual(expected(0, RECORDS.length));
    },
  );

  test('reads the parts of a batch that was cut, under the sequences they had', () => {
    const records = batchesOf('recut').flatMap((batch) => batch.records);
    expect(printable(records)).toEqual(expected(0, 5));
  });

  test('fault 80: agrees on time, count and sequences of each batch, over the wrap', () => {
    for (const { fields, records } of batchesOf('plain')) {
      expect(fields).toMatchObject({
        count: String(records.length),
        baseSequence: String(records[0]!.sequence),
        lastSequence: String(records.at(-1)!.sequence),
        CreateTime: String(Math.max(...records.map(({ time }) => time))),
      });
    }
  });
});
