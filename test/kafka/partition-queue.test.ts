// The line in front of one partition: at most five in flight, a failed batch goes back to its place,
// nothing is sent while others are still out, and a new producer id waits for the old one's batches.

import { describe, expect, spyOn, test } from 'bun:test';
import * as fc from 'fast-check';
import type { JournalledBatch } from '../../src/journal/cursor.ts';
import { SETTLED_FROM } from '../../src/journal/journalled-batch.ts';
import { NO_ANSWER, RECOVERED, verdictOf } from '../../src/kafka/errors.ts';
import { IN_FLIGHT_MAX, PartitionQueue, type Shipment } from '../../src/kafka/partition-queue.ts';
import { runs } from '../support/properties.ts';

const PRODUCER = { producerId: 7n, producerEpoch: 0 };
const DONE = verdictOf(0);
const NOT_LEADER = verdictOf(6);

/** The queue reads nothing of a batch but its record count and its age. */
function batchOf(recordCount: number, ageMs = 0): JournalledBatch {
  return { recordCount, maxTimestamp: Date.now() - ageMs } as JournalledBatch;
}

function enqueue(queue: PartitionQueue, records = 1, ageMs = 0): Shipment {
  return queue.enqueue(batchOf(records, ageMs), queue.nextStamp(records));
}

/** A queue with a leader, one batch behind it: the broker knows the producer. */
function openQueue(): PartitionQueue {
  const queue = new PartitionQueue(0, PRODUCER);
  queue.leader = 1;
  enqueue(queue);
  const [first] = sendAll(queue);
  queue.settle(first!, DONE);
  return queue;
}

function sendAll(queue: PartitionQueue): Shipment[] {
  const sent: Shipment[] = [];
  for (let head = queue.peek(); head; head = queue.peek()) {
    queue.send();
    sent.push(head);
  }
  return sent;
}

describe('sequences', () => {
  test('count records, batch after batch', () => {
    const queue = new PartitionQueue(3, PRODUCER);
    const stamps = [5, 1, 7].map((records) => enqueue(queue, records).stamp);
    expect(stamps).toEqual([
      { ...PRODUCER, baseSequence: 0 },
      { ...PRODUCER, baseSequence: 5 },
      { ...PRODUCER, baseSequence: 6 },
    ]);
  });

  test('fault 80: run out half-way, and none begins where those of settled records lie', () => {
    const queue = openQueue();
    queue.stamp = { ...PRODUCER, baseSequence: 2 ** 30 - 1 };
    expect([queue.isRunningOut, queue.hasRoom]).toEqual([false, true]);
    queue.nextStamp(1);
    expect([queue.isRunningOut, queue.hasRoom]).toEqual([true, true]);
    queue.stamp = { ...PRODUCER, baseSequence: SETTLED_FROM - 1 };
    expect([queue.hasRoom, queue.canPlace]).toEqual([true, true]);
    queue.nextStamp(1);
    expect([queue.hasRoom, queue.canPlace]).toEqual([false, false]);
  });

  test('stay -1 without idempotence', () => {
    const queue = new PartitionQueue(0, { producerId: -1n, producerEpoch: -1 });
    enqueue(queue, 3);
    expect(enqueue(queue, 3).stamp).toEqual({
      producerId: -1n,
      producerEpoch: -1,
      baseSequence: -1,
    });
  });
});

describe('sending', () => {
  test('at most five are in flight', () => {
    const queue = openQueue();
    for (let index = 0; index < 8; index++) enqueue(queue);
    const sent = sendAll(queue);
    expect(IN_FLIGHT_MAX).toBe(5);
    expect(sent.length).toBe(5);
    queue.settle(sent[0]!, DONE);
    expect(sendAll(queue).length).toBe(1);
  });

  test('goes in the order of the line', () => {
    const queue = openQueue();
    const enqueued = [1, 2, 3].map(() => enqueue(queue));
    expect(sendAll(queue)).toEqual(enqueued);
  });

  test('needs a leader', () => {
    const queue = openQueue();
    enqueue(queue);
    queue.leader = -1;
    expect(queue.peek()).toBeUndefined();
    expect(queue.hasRoom).toBe(false);
  });

  test('a line of five has no room for a sixth batch', () => {
    const queue = openQueue();
    for (let index = 0; index < 5; index++) {
      expect(queue.hasRoom).toBe(true);
      enqueue(queue);
    }
    expect(queue.hasRoom).toBe(false);
  });

  test('a producer id begins with one batch alone: brokers take any first sequence', () => {
    const queue = new PartitionQueue(0, PRODUCER);
    queue.leader = 1;
    for (let index = 0; index < 3; index++) enqueue(queue);
    const [first, ...others] = sendAll(queue);
    expect(others).toEqual([]);
    queue.settle(first!, DONE);
    expect(sendAll(queue).length).toBe(2);
  });

  test('a batch so old that its producer is forgotten at once is alone, and so is the one behind it', () => {
    const queue = openQueue();
    for (const hours of [30, 30, 1, 1, 1]) enqueue(queue, 1, hours * 3_600_000);
    const sent = [1, 2, 3].map(() => {
      const [first, ...others] = sendAll(queue);
      queue.settle(first!, DONE);
      return others.length;
    });
    expect(sent).toEqual([0, 0, 0]);
    expect(sendAll(queue)).toHaveLength(2);
  });

  test('behind a batch of another producer id nothing is sent, known or not', () => {
    const queue = openQueue();
    // As after a power cut that kept this one's place, and none of its neighbours'.
    queue.enqueue(batchOf(1), { ...PRODUCER, producerId: 6n, baseSequence: 12 });
    for (let index = 0; index < 3; index++) enqueue(queue);
    const [old, ...others] = sendAll(queue);
    expect([old?.stamp.producerId, others]).toEqual([6n, []]);
  });

  test('… and again after a silence in which it may be forgotten', () => {
    const queue = openQueue();
    for (let index = 0; index < 3; index++) enqueue(queue);
    const now = performance.now();
    using _ = spyOn(performance, 'now').mockImplementation(() => now + 12 * 3_600_000);
    expect(sendAll(queue).length).toBe(1);
  });

  test('without idempotence nothing has to wait for that', () => {
    const queue = new PartitionQueue(0, { producerId: -1n, producerEpoch: -1 });
    queue.leader = 1;
    for (let index = 0; index < 8; index++) enqueue(queue);
    expect(sendAll(queue).length).toBe(5);
  });

  test('a new producer id waits until the old one has nothing in flight', () => {
    const queue = openQueue();
    enqueue(queue);
    const [old] = sendAll(queue);
    queue.stamp = { producerId: 8n, producerEpoch: 0, baseSequence: 0 };
    const fresh = enqueue(queue);
    expect(queue.peek()).toBeUndefined();
    queue.settle(old!, DONE);
    expect(queue.peek()).toBe(fresh);
  });
});

test('what an earlier process sent is asked for before it goes, and nothing goes before that', () => {
  const queue = openQueue();
  enqueue(queue);
  const recovered = enqueue(queue);
  recovered.verdict = RECOVERED;
  enqueue(queue);
  const sent = sendAll(queue);
  expect([sent.length, queue.isSettled]).toEqual([1, false]);
  queue.settle(sent[0]!, DONE);
  expect([sendAll(queue).length, queue.isSettled]).toEqual([0, true]);
  recovered.verdict = undefined;
  expect([sendAll(queue).length, queue.isSettled]).toEqual([2, false]);
});

describe('failure', () => {
  test('a failed batch goes back to its place, and nothing is sent until all came back', () => {
    const queue = openQueue();
    for (let index = 0; index < 7; index++) enqueue(queue);
    const sent = sendAll(queue);
    queue.settle(sent[1]!, NOT_LEADER);
    expect(queue.state).toBe('settling');
    expect(queue.peek()).toBeUndefined();
    expect(queue.hasRoom).toBe(false);
    queue.settle(sent[0]!, DONE);
    queue.settle(sent[4]!, NO_ANSWER);
    queue.settle(sent[3]!, NOT_LEADER);
    expect(queue.isSettled).toBe(false);
    queue.settle(sent[2]!, NOT_LEADER);
    expect(queue.isSettled).toBe(true);
    const orders = queue.waiting.map(({ order }) => order);
    expect(orders).toEqual(orders.toSorted((a, b) => a - b));
    expect(queue.waiting.slice(0, 4)).toEqual([sent[1]!, sent[2]!, sent[3]!, sent[4]!]);
  });

  test('the verdict stays with the batch', () => {
    const queue = openQueue();
    const shipment = enqueue(queue);
    sendAll(queue);
    queue.settle(shipment, NOT_LEADER);
    expect(shipment.verdict).toBe(NOT_LEADER);
  });

  test('an acknowledgement ends the row of failures', () => {
    const queue = openQueue();
    queue.attempt = 6;
    enqueue(queue);
    queue.settle(sendAll(queue)[0]!, DONE);
    expect(queue.attempt).toBe(0);
    expect(queue.load).toBe(0);
  });

  test('behind a failure there may be another log: it begins with one batch alone again', () => {
    const queue = openQueue();
    for (let batch = 0; batch < 3; batch++) enqueue(queue);
    const sent = sendAll(queue);
    expect(sent.length).toBe(3);
    for (const shipment of sent) queue.settle(shipment, NOT_LEADER);
    queue.state = 'open';
    expect(sendAll(queue)).toEqual([sent[0]!]);
    queue.settle(sent[0]!, DONE);
    expect(sendAll(queue).length).toBe(2);
  });

  test('a new leader gets nothing before what is out, or waits, was looked after', () => {
    const queue = openQueue();
    queue.follow(2);
    expect(queue.state).toBe('open');
    enqueue(queue);
    queue.follow(3);
    expect([queue.state, queue.isSettled]).toEqual(['settling', true]);
  });

  test('a shipment out of another line begins anew at the end of this one', () => {
    const queue = openQueue();
    const own = enqueue(queue, 2);
    const other = new PartitionQueue(1, { producerId: 3n, producerEpoch: 9 });
    const moved = enqueue(other, 4);
    const adopted = queue.adopt(moved);
    expect(queue.waiting).toEqual([own, adopted]);
    expect(adopted.order).toBeGreaterThan(own.order);
    expect(adopted.stamp).toEqual({ ...PRODUCER, baseSequence: 3 });
    expect(adopted).toMatchObject({ recordCount: 4, parts: moved.parts });
  });

  test('parts take the place of their whole', () => {
    const queue = openQueue();
    const [head, next] = [enqueue(queue, 4), enqueue(queue)];
    const parts = [0, 0.5].map((from) => ({ ...head, order: head.order + from, recordCount: 2 }));
    queue.replaceHead(parts);
    expect(queue.waiting).toEqual([...parts, next]);
    expect(queue.dropHead()).toBe(parts[0]);
    expect(queue.waiting).toEqual([parts[1]!, next]);
  });
});

test('whatever fails and whenever, the line stays in order and at most five are out', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('enqueue' as const), records: fc.integer({ min: 1, max: 9 }) }),
    fc.record({ kind: fc.constant('settle' as const), at: fc.nat(), fails: fc.boolean() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = openQueue();
      let out: Shipment[] = [];
      const delivered: number[] = [];
      for (const move of steps) {
        if (move.kind === 'enqueue') enqueue(queue, move.records);
        else if (out.length > 0) {
          const shipment = out[move.at % out.length]!;
          // As a broker: behind one that failed none can succeed.
          const mayPass = out[0] === shipment && queue.state === 'open';
          queue.settle(shipment, move.fails || !mayPass ? NOT_LEADER : DONE);
          if (shipment.verdict === DONE) delivered.push(shipment.order);
          out = out.filter((other) => other !== shipment);
        }
        if (queue.isSettled) queue.state = 'open';
        out.push(...sendAll(queue));
        expect(out.length).toBeLessThanOrEqual(IN_FLIGHT_MAX);
        expect(queue.inFlight).toBe(out.length);
        const orders = [...out, ...queue.waiting].map(({ order }) => order);
        if (queue.state === 'open') expect(orders).toEqual(orders.toSorted((a, b) => a - b));
      }
      expect(delivered).toEqual(delivered.toSorted((a, b) => a - b));
    }),
    runs(200),
  );
});
