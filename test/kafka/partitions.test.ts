// Which partitions the topic has and which of them gets the next batch: the one with the least to do, in
// turn; never one without a leader; and one that is not listed, whether or not it ever was, is believed
// gone only after several answers without it.

import { expect, test } from 'bun:test';
import type { JournalledBatch } from '../../src/journal/cursor.ts';
import type { PartitionQueue } from '../../src/kafka/partition-queue.ts';
import { Partitions } from '../../src/kafka/partitions.ts';

const PRODUCER = { producerId: 7n, producerEpoch: 0 };
const PLACEMENT = { ...PRODUCER, baseSequence: 0 };
const ONE_RECORD = { recordCount: 1 } as JournalledBatch;

function listed(...leaders: readonly number[]) {
  return leaders.map((leader, partition) => ({ errorCode: 0, partition, leader }));
}

function give(queue: PartitionQueue | undefined): void {
  queue?.enqueue(ONE_RECORD, queue.nextStamp(1));
}

function started(...leaders: readonly number[]): Partitions {
  const partitions = new Partitions();
  partitions.beginAnew(PRODUCER);
  partitions.update(listed(...leaders));
  return partitions;
}

test('each gets its turn, and one with more to do is passed over', () => {
  const partitions = started(1, 1, 1);
  const turns: number[] = [];
  for (let turn = 0; turn < 6; turn++) {
    const queue = partitions.choose()!;
    turns.push(queue.partition);
    partitions.noteTurn(queue);
  }
  expect(turns.toSorted((a, b) => a - b)).toEqual([0, 0, 1, 1, 2, 2]);
  give(partitions.queues[0]);
  give(partitions.queues[1]);
  expect(partitions.choose()?.partition).toBe(2);
  expect(partitions.isIdle).toBe(false);
});

test('without a leader, or with a full line, a partition gets nothing', () => {
  const partitions = started(-1, 1);
  for (let batch = 0; batch < 5; batch++) give(partitions.choose());
  expect(partitions.queues.map(({ load }) => load)).toEqual([0, 5]);
  expect(partitions.choose()).toBeUndefined();
  expect(partitions.chooseAny()?.partition).toBe(1);
});

test('in another cluster all begins anew, and what is left of the first one moves there', () => {
  const partitions = started(1, 1);
  give(partitions.queues[0]);
  partitions.beginAnew({ producerId: 8n, producerEpoch: 0 });
  const [first, second] = partitions.queues;
  expect([first!.isGone, second!.isGone]).toEqual([true, true]);
  expect(first!.state).toBe('settling');
  expect(partitions.choose()).toBeUndefined();
  partitions.update(listed(1));
  for (let answer = 1; answer <= 2; answer++) partitions.update(listed(1, 1));
  expect([first!.isGone, second!.isGone]).toEqual([true, true]);
  const begun = partitions.queues.slice(2);
  expect(begun.map(({ partition, leader }) => [partition, leader])).toEqual([
    [0, 1],
    [1, 1],
  ]);
  for (const { stamp } of begun) expect(stamp).toEqual({ ...PLACEMENT, producerId: 8n });
  expect(begun).toContain(partitions.choose()!);
  expect(partitions.isIdle).toBe(false);
});

test('an old batch belongs where it was placed, unless its id is a newcomer’s too', () => {
  const partitions = started(1, 1);
  expect(partitions.queueOf({ ...PLACEMENT, producerId: 3n, partition: 1 })?.partition).toBe(1);
  expect(partitions.queueOf({ ...PLACEMENT, partition: 1 })).toBeUndefined();
  expect(partitions.queueOf({ ...PLACEMENT, producerId: -1n, partition: 1 })?.partition).toBe(1);
});

test('a partition is gone after six answers without it, and back with the first that has it', () => {
  const partitions = started(1, 1);
  const old = { ...PLACEMENT, producerId: 3n, partition: 1 };
  for (let answer = 1; answer <= 5; answer++) partitions.update(listed(1));
  const [, gone] = partitions.queues;
  expect([gone!.leader, gone!.isGone]).toEqual([-1, false]);
  expect(partitions.queueOf(old)).toBe(gone);
  partitions.update(listed(1, 1)); // the broker that lagged behind has caught up
  for (let answer = 1; answer <= 5; answer++) partitions.update(listed(1));
  expect(gone!.isGone).toBe(false);
  partitions.update(listed(1));
  expect(gone!.isGone).toBe(true);
  expect(partitions.queueOf(old)).toBeUndefined();
  expect(partitions.choose()?.partition).toBe(0);
  partitions.update(listed(1, 2));
  expect([gone!.isGone, gone!.leader]).toEqual([false, 2]);
});

test('of a list with a gap the others are used, each in its turn', () => {
  const partitions = new Partitions();
  partitions.beginAnew(PRODUCER);
  partitions.update(listed(1, 1, 1, 1).filter(({ partition }) => partition !== 2));
  expect([partitions.trouble, partitions.inFlight, partitions.isIdle]).toEqual([
    undefined,
    0,
    true,
  ]);
  const turns: number[] = [];
  for (let turn = 0; turn < 6; turn++) {
    const queue = partitions.choose()!;
    turns.push(queue.partition);
    partitions.noteTurn(queue);
  }
  expect(turns.toSorted((a, b) => a - b)).toEqual([0, 0, 1, 1, 3, 3]);
  partitions.update(listed(1, 1, 1, 1));
  expect(partitions.queues.map(({ leader }) => leader)).toEqual([1, 1, 1, 1]);
});

test('a partition that an old batch was placed in is gone after six answers, listed before or not', () => {
  const partitions = started(1);
  const old = { ...PLACEMENT, producerId: 3n, partition: 3 };
  const unlisted = partitions.queueOf(old);
  expect(unlisted?.partition).toBe(3);
  expect(unlisted!.stamp).toEqual(PLACEMENT);
  expect(partitions.choose()?.partition).toBe(0);
  for (let answer = 1; answer <= 5; answer++) partitions.update(listed(1));
  expect(partitions.queueOf(old)).toBe(unlisted);
  partitions.update(listed(1));
  expect(partitions.queueOf(old)).toBeUndefined();
});
