// A batch that went in parts and needs other numbers, because one of its records was given up or the
// broker will not take the old ones: what of it is settled stands in the journal before a part goes under
// the new numbers, so the next process sends the others only. And a producer id that runs out.

import { describe, expect, test } from 'bun:test';
import { placementBehind, settledBefore } from '../../src/journal/journalled-batch.ts';
import { NO_ANSWER, RECOVERED, verdictOf } from '../../src/kafka/errors.ts';
import { PartitionQueue } from '../../src/kafka/partition-queue.ts';
import { FailedLine, PRODUCER } from '../support/failed-line.ts';

const TOO_LARGE = verdictOf(10);

describe('renumber, of a batch in parts', () => {
  /** What the journal says of the first batch, and would say to the next process. */
  function placementOf(line: FailedLine): unknown {
    const { producerId, baseSequence } = line.batches[0]!.placement!;
    const settled = settledBefore(line.batches[0]!.placement!);
    return settled > 0 ? { producerId, settled } : { producerId, baseSequence };
  }

  test('the journal has the new numbers while all of it waits', async () => {
    await using line = new FailedLine([4, 1], TOO_LARGE, { baseSequence: 10 });
    await line.remedy.recut(line.queue);
    await line.remedy.renumber(line.queue);
    expect(line.line.map(([first]) => first)).toEqual([0, 2, 4]);
    expect(placementOf(line)).toEqual({ producerId: 100n, baseSequence: 0 });
  });

  test('behind one given up, the journal says how many are settled, each time', async () => {
    await using line = new FailedLine([4, 1], TOO_LARGE, { baseSequence: 10 });
    for (let cuts = 0; cuts < 3; cuts++) await line.remedy.recut(line.queue);
    expect(line.line).toEqual([
      [0, '1'],
      [1, '2', '3'],
      [3, '4'],
    ]);
    expect(placementOf(line)).toEqual({ producerId: 100n, settled: 1 });
    expect(line.batches[1]!.placement).toMatchObject({ producerId: 100n, baseSequence: 3 });
    await line.remedy.recut(line.queue);
    expect(line.line.map(([first]) => first)).toEqual([0, 2]);
    expect(placementOf(line)).toEqual({ producerId: 101n, settled: 2 });
  });

  test('behind what arrived, too', async () => {
    await using line = new FailedLine([4], NO_ANSWER);
    line.last = 2;
    await line.remedy.inquire(line.queue);
    await line.remedy.renumber(line.queue);
    expect(line.line).toEqual([[0, '3']]);
    expect(placementOf(line)).toEqual({ producerId: 100n, settled: 3 });
  });

  test('not while its end is settled and its beginning is not', async () => {
    await using line = new FailedLine([4], TOO_LARGE);
    await line.remedy.recut(line.queue);
    const [first, second] = line.queue.waiting;
    line.queue.send();
    line.queue.send();
    line.queue.settle(first!, NO_ANSWER);
    line.queue.settle(second!, verdictOf(0));
    second!.parts.left--;
    await line.remedy.renumber(line.queue);
    expect(line.line).toEqual([[0, '0', '1']]);
    expect(placementOf(line)).toEqual({ producerId: 7n, baseSequence: 0 });
    expect(line.possiblyDuplicated).toBe(2);
  });

  test('not while another part of it waits elsewhere', async () => {
    await using line = new FailedLine([4], TOO_LARGE);
    await line.remedy.recut(line.queue);
    line.queue.dropHead();
    await line.remedy.renumber(line.queue);
    expect(line.line).toEqual([[0, '2', '3']]);
    expect(placementOf(line)).toEqual({ producerId: 7n, baseSequence: 0 });
  });
});

describe('takeUp', () => {
  for (const states of [[], undefined]) {
    const word = states ? 'knows nothing of them' : 'tells nothing';
    test(`what was settled before the new numbers is not sent by a broker that ${word}`, async () => {
      await using line = new FailedLine([4, 1], TOO_LARGE);
      for (let cuts = 0; cuts < 3; cuts++) await line.remedy.recut(line.queue);
      line.restart();
      line.states = states;
      await line.remedy.inquire(line.queue);
      expect(line.line).toEqual([
        [0, '1', '2', '3'],
        [3, '4'],
      ]);
      expect(line.possiblyDuplicated).toBe(states ? 0 : 4);
      expect(line.counters.alreadyDelivered).toBe(0);
    });
  }

  test('of what was not settled, what arrived is freed, whatever batch it ends in', async () => {
    for (const [last, left] of [
      [
        0,
        [
          [1, '2', '3'],
          [3, '4'],
        ],
      ],
      [2, [[3, '4']]],
      [3, []],
    ] as const) {
      await using line = new FailedLine([4, 1], TOO_LARGE);
      for (let cuts = 0; cuts < 3; cuts++) await line.remedy.recut(line.queue);
      line.restart();
      line.states = [{ producerId: 100n, producerEpoch: 0, lastSequence: last }];
      await line.remedy.inquire(line.queue);
      expect(line.line).toEqual(left as never);
      expect(line.counters.alreadyDelivered).toBe(last + 1);
      expect(line.newIds).toBe(1);
    }
  });

  test('a batch that lost the records behind the settled ones is through', async () => {
    await using line = new FailedLine([2], RECOVERED);
    const [batch] = line.batches;
    line.queue = new PartitionQueue(0, PRODUCER);
    line.remedy.takeUp(line.queue, batch!, placementBehind(2, batch!.placement!));
    expect([line.queue.load, line.journal.backlogBytes]).toEqual([0, 0]);
  });
});

test('a batch that lost its placement begins anew, and is counted', async () => {
  await using line = new FailedLine([2], RECOVERED);
  const [batch] = line.batches;
  line.remedy.noteAnew({ ...batch!, placement: undefined });
  expect(line.possiblyDuplicated).toBe(0);
  line.remedy.noteAnew({ ...batch!, placement: undefined, placementLost: true });
  expect(line.reports).toMatchObject([
    { deviation: 'may be twice', cause: 'its sequences torn by a power cut' },
  ]);
  expect(line.possiblyDuplicated).toBe(2);
});

describe('renewId', () => {
  test('asks once, whoever asks, and what is placed from then on has the new id', async () => {
    await using line = new FailedLine([2], NO_ANSWER);
    await Promise.all([line.remedy.renewId(line.queue), line.remedy.renewId(line.queue)]);
    expect(line.newIds).toBe(1);
    expect(line.queue.stamp).toEqual({ producerId: 100n, producerEpoch: 0, baseSequence: 0 });
    expect(line.line).toEqual([[0, '0', '1']]);
    expect(line.queue.waiting[0]!.stamp.producerId).toBe(7n);
  });
});
