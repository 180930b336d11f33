// What happens to a partition's line once batches came back failed, without timers and connections:
// what the log has is freed, what it has not is sent again with the same numbers, or with new ones
// where the broker will not take the old; a batch that is too large falls into halves.

import { describe, expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { SETTLED_FROM } from '../../src/journal/journalled-batch.ts';
import { NO_ANSWER, RECOVERED, verdictOf } from '../../src/kafka/errors.ts';
import { readBatchHeader } from '../../src/record-batch.ts';
import { FailedLine, PRODUCER } from '../support/failed-line.ts';
import { failureOf } from '../support/failure-of.ts';
import { runs } from '../support/properties.ts';

const OUT_OF_ORDER = verdictOf(45);
const TOO_LARGE = verdictOf(10);
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

describe('inquire', () => {
  test('all arrived: the line is empty and nothing is sent again', async () => {
    await using line = new FailedLine([2, 3], NO_ANSWER);
    line.last = 4;
    await line.remedy.inquire(line.queue);
    expect(line.queue.waiting).toEqual([]);
    expect(line.finished.length).toBe(2);
    expect(line.counters).toEqual({ alreadyDelivered: 5, oversize: 0 });
    expect(line.possiblyDuplicated).toBe(0);
  });

  test('none arrived: the same batches go again under the same numbers', async () => {
    await using line = new FailedLine([2, 3], NO_ANSWER, { baseSequence: 10 });
    line.last = 9;
    await line.remedy.inquire(line.queue);
    expect(line.line).toEqual([
      [10, '0', '1'],
      [12, '2', '3', '4'],
    ]);
    expect([line.newIds, line.finished.length, line.possiblyDuplicated]).toEqual([0, 0, 0]);
  });

  test('the first ones arrived: the others go again', async () => {
    await using line = new FailedLine([2, 3, 1], NO_ANSWER);
    line.last = 4;
    await line.remedy.inquire(line.queue);
    expect(line.line).toEqual([[5, '5']]);
  });

  test('part of a batch arrived: the rest goes again, and frees the journal when it is through', async () => {
    await using line = new FailedLine([4, 1], NO_ANSWER);
    line.last = 2;
    await line.remedy.inquire(line.queue);
    expect(line.line).toEqual([
      [3, '3'],
      [4, '4'],
    ]);
    expect(line.finished).toEqual([]);
    expect(line.queue.waiting[0]?.parts.left).toBe(1);
    expect(line.counters.alreadyDelivered).toBe(3);
  });

  test('a recovered batch of a producer that the broker does not know never arrived', async () => {
    await using line = new FailedLine([2], RECOVERED);
    line.states = [];
    await line.remedy.inquire(line.queue);
    expect(line.line).toEqual([[0, '0', '1']]);
    expect(line.possiblyDuplicated).toBe(0);
  });

  test('… unless it is older than brokers surely remember: then it is counted', async () => {
    await using line = new FailedLine([2], RECOVERED, { timestamp: Date.now() - HOUR_MS - 1000 });
    line.states = [];
    await line.remedy.inquire(line.queue);
    expect(line.line).toEqual([[0, '0', '1']]);
    expect(line.possiblyDuplicated).toBe(2);
  });

  test('… and unless it is not the first of its producer: the broker knew it then, and forgot', async () => {
    await using line = new FailedLine([2, 1], RECOVERED, { baseSequence: 4 });
    line.states = [{ producerId: 6n, producerEpoch: 0, lastSequence: 9 }];
    await line.remedy.inquire(line.queue);
    expect(line.line).toEqual([
      [0, '0', '1'],
      [2, '2'],
    ]);
    expect(line.newIds).toBe(1);
    const report = { deviation: 'may be twice', cause: 'producer forgotten by the broker' };
    expect(line.reports).toMatchObject([report, report]);
    expect(line.possiblyDuplicated).toBe(3);
  });

  test('a broker that will not tell: sent again, and counted', async () => {
    await using line = new FailedLine([2], NO_ANSWER);
    line.states = undefined;
    await line.remedy.inquire(line.queue);
    expect(line.line).toEqual([[0, '0', '1']]);
    expect(line.possiblyDuplicated).toBe(2);
  });

  test('a gap in front of the line brings new numbers for all of it', async () => {
    await using line = new FailedLine([2, 3], OUT_OF_ORDER, { baseSequence: 10 });
    line.last = 5;
    await line.remedy.inquire(line.queue);
    expect(line.newIds).toBe(1);
    expect(line.line).toEqual([
      [0, '0', '1'],
      [2, '2', '3', '4'],
    ]);
    expect(line.queue.stamp).toEqual({ producerId: 100n, producerEpoch: 0, baseSequence: 5 });
  });

  test('a gap found while asking after a lost answer does not wait to be refused', async () => {
    await using line = new FailedLine([2], NO_ANSWER, { baseSequence: 10 });
    line.last = 5;
    await line.remedy.inquire(line.queue);
    expect(line.newIds).toBe(1);
  });

  test('OUT_OF_ORDER of a producer that the broker does not know brings new numbers', async () => {
    await using line = new FailedLine([1], OUT_OF_ORDER, { baseSequence: 10 });
    line.states = [];
    await line.remedy.inquire(line.queue);
    expect(line.newIds).toBe(1);
  });

  test('what is said while the queue turns out to be another cluster’s is not believed', async () => {
    await using line = new FailedLine([2], NO_ANSWER);
    const states = [{ ...PRODUCER, lastSequence: 99 }];
    Object.defineProperty(line, 'states', {
      get: () => {
        line.queue.abandon();
        return states;
      },
    });
    expect((await failureOf(line.remedy.inquire(line.queue))).message).toContain('another cluster');
    expect(line.finished).toEqual([]);
  });

  test('a broker that does not answer leaves the line as it was', async () => {
    await using line = new FailedLine([2, 3], NO_ANSWER);
    const before = line.line;
    Object.defineProperty(line, 'states', {
      get: () => {
        throw new Error('gone');
      },
    });
    expect((await failureOf(line.remedy.inquire(line.queue))).message).toContain('gone');
    expect(line.line).toEqual(before);
  });
});

describe('arrival', () => {
  test('for any first and last sequence exactly the arrived records are freed', async () => {
    const bases = fc.oneof(
      fc.integer({ min: 0, max: 20 }),
      fc.integer({ min: SETTLED_FROM - 20, max: SETTLED_FROM - 1 }),
      fc.integer({ min: 0, max: SETTLED_FROM - 1 }),
    );
    const counts = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(bases, counts, fc.nat({ max: 30 }), async (baseSequence, each, arrived) => {
        await using line = new FailedLine(each, NO_ANSWER, { baseSequence });
        const total = each.reduce((sum, count) => sum + count, 0);
        const really = Math.min(arrived, total);
        // One before the first record = none arrived.
        line.last = baseSequence + really - 1;
        await line.remedy.inquire(line.queue);
        expect(line.counters.alreadyDelivered).toBe(really);
        const left = line.line.flatMap(([, ...values]) => values).map(Number);
        expect(left).toEqual(Array.from({ length: total - really }, (_, index) => really + index));
        expect(line.newIds).toBe(0);
      }),
      runs(40),
    );
  });
});

describe('renumber', () => {
  test('gives all that waits a new id from 0 on, in the journal too', async () => {
    await using line = new FailedLine([2, 3], verdictOf(47), { baseSequence: 40 });
    await line.remedy.renumber(line.queue);
    expect(line.line).toEqual([
      [0, '0', '1'],
      [2, '2', '3', '4'],
    ]);
    const { batch } = line.queue.waiting[1]!;
    expect(batch.placement).toEqual({
      producerId: 100n,
      producerEpoch: 0,
      baseSequence: 2,
      partition: 0,
    });
    expect(line.queue.waiting.every(({ verdict }) => verdict === undefined)).toBe(true);
  });

  test('a batch with new numbers is compressed anew', async () => {
    await using line = new FailedLine([2], verdictOf(47));
    line.queue.waiting[0]!.payload = Buffer.from('old');
    await line.remedy.renumber(line.queue);
    expect(line.queue.waiting[0]!.payload).toBeUndefined();
  });

  test('what may have arrived is counted, what was surely refused is not', async () => {
    await using unsure = new FailedLine([2], NO_ANSWER);
    await unsure.remedy.renumber(unsure.queue);
    expect(unsure.possiblyDuplicated).toBe(2);
    await using sure = new FailedLine([2], verdictOf(19));
    await sure.remedy.renumber(sure.queue);
    expect(sure.possiblyDuplicated).toBe(0);
  });
});

describe('recut', () => {
  test('halves keep the sequence of each record', async () => {
    await using line = new FailedLine([5, 1], TOO_LARGE, { baseSequence: 10 });
    await line.remedy.recut(line.queue);
    expect(line.line).toEqual([
      [10, '0', '1'],
      [12, '2', '3', '4'],
      [15, '5'],
    ]);
    expect(line.queue.waiting[0]!.parts).toBe(line.queue.waiting[1]!.parts);
    expect(line.queue.waiting[0]!.parts.left).toBe(2);
  });

  test('halves are halved again, in order, down to single records', async () => {
    await using line = new FailedLine([4, 1], TOO_LARGE);
    await line.remedy.recut(line.queue);
    await line.remedy.recut(line.queue);
    expect(line.line.map(([first]) => first)).toEqual([0, 1, 2, 4]);
    const orders = line.queue.waiting.map(({ order }) => order);
    expect(orders).toEqual(orders.toSorted((a, b) => a - b));
    expect(new Set(orders).size).toBe(4);
    expect(line.queue.waiting[0]!.parts.left).toBe(3);
  });

  test('a single record that is too large is given up and counted; the rest gets new numbers', async () => {
    await using line = new FailedLine([1, 2], TOO_LARGE, { baseSequence: 10 });
    await line.remedy.recut(line.queue);
    expect(line.counters.oversize).toBe(1);
    expect(line.reports).toMatchObject([
      { deviation: 'put aside', cause: 'too large for the broker' },
    ]);
    expect(line.quarantined).toEqual([['0']]);
    expect(line.finished.length).toBe(1);
    expect(line.newIds).toBe(1);
    expect(line.line).toEqual([[0, '1', '2']]);
    expect(line.queue.stamp.baseSequence).toBe(2);
  });

  test('a quarantine without room loses such a record, by name, and holds nobody up', async () => {
    await using line = new FailedLine([1, 2], TOO_LARGE, { quarantineBytes: 10 });
    await line.remedy.recut(line.queue);
    expect(line.reports).toMatchObject([{ deviation: 'lost', cause: 'too large for the broker' }]);
    expect(line.reports[0]!.detail).toContain('is full');
    expect(line.line).toEqual([[0, '1', '2']]);
  });

  test('without idempotence there is nothing to renumber', async () => {
    await using line = new FailedLine([], TOO_LARGE);
    line.queue.stamp = { producerId: -1n, producerEpoch: -1, baseSequence: -1 };
    line.journal.append('x', Date.now());
    line.journal.seal();
    line.queue.enqueue(line.journal.take()!, line.queue.nextStamp(1)).verdict = TOO_LARGE;
    await line.remedy.recut(line.queue);
    expect([line.newIds, line.counters.oversize, line.queue.load]).toEqual([0, 1, 0]);
  });
});

describe('reencode', () => {
  const CORRUPT = verdictOf(2);

  /** Flips a bit of the last record, as a broken memory would. */
  function flipLastByte(bytes: Buffer): void {
    bytes[bytes.length - 2]! ^= 1;
  }

  test('sound records go again, with a CRC made anew', async () => {
    await using line = new FailedLine([2, 1], CORRUPT, { baseSequence: 10 });
    const bytes = line.journal.bytesOf(line.queue.waiting[0]!.batch);
    bytes.writeUInt32BE(0, 17);
    line.queue.waiting[0]!.payload = Buffer.from('compressed');
    await line.remedy.reencode(line.queue);
    expect(line.line).toEqual([
      [10, '0', '1'],
      [12, '2'],
    ]);
    expect(line.queue.waiting[0]!.payload).toBeUndefined();
    expect([line.reports, line.newIds, line.finished.length]).toEqual([[], 0, 0]);
  });

  test('refused again they are put aside, and the others get new numbers', async () => {
    await using line = new FailedLine([2, 1], CORRUPT, { baseSequence: 10 });
    await line.remedy.reencode(line.queue);
    await line.remedy.reencode(line.queue);
    expect(line.quarantined).toEqual([['0', '1']]);
    expect(line.reports).toMatchObject([
      { deviation: 'put aside', cause: 'corrupt to the broker' },
    ]);
    expect(line.finished.length).toBe(1);
    expect(line.line).toEqual([[0, '2']]);
    expect(line.newIds).toBe(1);
  });

  test('records that are not what was appended are not vouched for', async () => {
    await using line = new FailedLine([2, 1], CORRUPT);
    flipLastByte(line.journal.bytesOf(line.queue.waiting[0]!.batch));
    await line.remedy.reencode(line.queue);
    expect(line.reports).toMatchObject([
      { deviation: 'put aside', cause: 'damaged in the journal' },
    ]);
    expect(line.line).toEqual([[0, '2']]);
  });

  test('a part is vouched for by the CRC it was cut with', async () => {
    await using line = new FailedLine([2], TOO_LARGE);
    await line.remedy.recut(line.queue);
    const [first] = line.queue.waiting;
    await line.remedy.reencode(line.queue);
    expect(line.queue.waiting[0]).toBe(first);
    first!.reencoded = false;
    flipLastByte(first!.cut!);
    await line.remedy.reencode(line.queue);
    expect(line.reports).toMatchObject([{ cause: 'damaged in the journal' }]);
    expect(line.line).toEqual([[0, '1']]);
    expect(line.queue.waiting[0]!.parts.left).toBe(1);
  });

  test('a quarantine without room holds the batch: a broken link empties no journal', async () => {
    await using line = new FailedLine([2, 1], CORRUPT, { quarantineBytes: 10 });
    await line.remedy.reencode(line.queue);
    const failure = await failureOf(line.remedy.reencode(line.queue));
    expect(failure.message).toContain('is full');
    expect(line.line).toHaveLength(2);
    expect(line.reports).toEqual([]);
  });
});

describe('redate', () => {
  const WRONG_TIME = verdictOf(32);

  test('while the clock runs ahead, nothing is touched', async () => {
    await using line = new FailedLine([2], WRONG_TIME, { timestamp: Date.now() - 1000 });
    expect(line.remedy.redate(line.queue)).toBe(false);
    expect(line.reports).toEqual([]);
  });

  test('once it was put right, all that is dated later goes as of now, under its numbers', async () => {
    await using line = new FailedLine([2, 3], WRONG_TIME, {
      baseSequence: 10,
      timestamp: Date.now() + DAY_MS,
    });
    // What is being compressed, or on its way to the disk, has the old dates.
    for (const shipment of line.queue.waiting) shipment.preparing = Symbol();
    expect(line.remedy.redate(line.queue)).toBe(true);
    expect(line.queue.waiting.map(({ preparing }) => preparing)).toEqual([undefined, undefined]);
    expect(line.line).toEqual([
      [10, '0', '1'],
      [12, '2', '3', '4'],
    ]);
    for (const { cut } of line.queue.waiting) {
      expect(readBatchHeader(cut!, 0).maxTimestamp).toBeWithin(Date.now() - 1000, Date.now() + 1);
    }
    expect(line.reports).toMatchObject([
      { deviation: 'redated', cause: 'dated ahead of the broker' },
      { deviation: 'redated' },
    ]);
    expect(line.newIds).toBe(0);
  });

  test('a redated batch that needs a new id has it in the journal, too', async () => {
    await using line = new FailedLine([2], WRONG_TIME, { timestamp: Date.now() + DAY_MS });
    line.remedy.redate(line.queue);
    await line.remedy.renumber(line.queue);
    expect(line.line).toEqual([[0, '0', '1']]);
    expect(line.queue.waiting[0]!.batch.placement!.producerId).toBe(100n);
  });
});
