// The requests hoplog sends, byte for byte against arrays written by hand from Kafka's protocol guide
// (and once compared with what Kafka 4.3.1 accepts), and the answers it reads, likewise. What garbage
// does to the decoders: protocol-garbage.test.ts.

import { describe, expect, test } from 'bun:test';
import {
  describeConfigsRequest,
  describeProducersRequest,
  earliestOffsetRequest,
  fetchRequest,
  initProducerIdRequest,
  type KafkaRequest,
  metadataRequest,
  produceRequest,
  requestHeader,
} from '../../src/kafka/protocol.ts';
import { ResponseMalformed } from '../../src/kafka/wire.ts';

type Bytes = number | string | readonly Bytes[];

/** Text by its UTF-8, numbers as they are; brackets only show what belongs together. */
function bytes(...parts: readonly Bytes[]): number[] {
  return parts.flatMap((part) => {
    if (typeof part === 'number') return part;
    return typeof part === 'string' ? [...Buffer.from(part)] : bytes(...part);
  });
}

function answer(...parts: readonly Bytes[]): Buffer {
  return Buffer.from(bytes(...parts));
}

function bodyOf({ body }: KafkaRequest<unknown>): number[] {
  return Array.from(Buffer.concat(body));
}

const MINUS_1 = [0xff, 0xff, 0xff, 0xff] as const;
const LONG_0 = [0, 0, 0, 0, 0, 0, 0, 0] as const;

test('the request header: length of all that follows, key, version, correlation id, client id', () => {
  const request = produceRequest('log', 0, -1, 1, Buffer.alloc(100));
  const bodyBytes = bodyOf(request).length;
  expect([...requestHeader(request, 0x01020304, 'hé')]).toEqual(
    bytes(0, 0, 0, 10 + 3 + bodyBytes, 0, 0, 0, 7, 1, 2, 3, 4, 0, 3, 0x68, 0xc3, 0xa9),
  );
});

describe('Produce v7', () => {
  const batch = Buffer.from(Array.from({ length: 20 }, (_, index) => index + 1));

  test('request, acks=all', () => {
    const request = produceRequest('log', 2, -1, 15_000, batch);
    expect([request.apiKey, request.apiVersion, request.apiName]).toEqual([0, 7, 'Produce']);
    expect(bodyOf(request)).toEqual(
      bytes(
        [0xff, 0xff], // transactional_id: null
        [0xff, 0xff], // acks
        [0, 0, 0x3a, 0x98], // timeout_ms
        [0, 0, 0, 1],
        [0, 3],
        'log',
        [0, 0, 0, 1],
        [0, 0, 0, 2], // partition
        [0, 0, 0, 20],
        LONG_0, // base offset, whatever the journal keeps there
        [9, 10, 11, 12],
        MINUS_1, // leader epoch
        [17, 18, 19, 20],
      ),
    );
  });

  test('request, acks=1', () => {
    const body = bodyOf(produceRequest('t', 0, 1, 1, batch));
    expect(body.slice(0, 8)).toEqual([0xff, 0xff, 0, 1, 0, 0, 0, 1]);
  });

  test('the batch in the journal is neither changed nor copied', () => {
    const journal = Buffer.from(batch);
    const { body } = produceRequest('log', 0, -1, 1, journal);
    expect(journal).toEqual(batch);
    expect(body.at(-1)?.buffer).toBe(journal.buffer);
  });

  test('a topic name of 249 characters has room', () => {
    const body = bodyOf(produceRequest('x'.repeat(249), 0, -1, 1, batch));
    expect(body.length).toBe(2 + 2 + 4 + 4 + 2 + 249 + 4 + 4 + 4 + 20);
  });

  test('answer', () => {
    const { decode } = produceRequest('log', 2, -1, 1, batch);
    const payload = answer(
      [0, 0, 0, 1, 0, 3],
      'log',
      [0, 0, 0, 1],
      [0, 0, 0, 2], // partition
      [0, 45], // error_code
      [0, 0, 0, 1, 0, 0, 0, 2], // base_offset
      [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
      LONG_0,
      [0, 0, 0x13, 0x88], // throttle_time_ms
    );
    expect(decode(payload)).toEqual({
      errorCode: 45,
      baseOffset: 2n ** 32n + 2n,
      throttleMs: 5000,
    });
  });

  test('an answer about nothing is malformed', () => {
    const { decode } = produceRequest('log', 2, -1, 1, batch);
    expect(() => decode(answer(0, 0, 0, 0, 0, 0, 0, 0))).toThrow(ResponseMalformed);
    expect(() => decode(answer(0, 0, 0, 1, 0, 1, 'x', 0, 0, 0, 0, 0, 0, 0, 0))).toThrow(
      ResponseMalformed,
    );
  });
});

describe('InitProducerId v1', () => {
  test('request', () => {
    const request = initProducerIdRequest();
    expect([request.apiKey, request.apiVersion]).toEqual([22, 1]);
    expect(bodyOf(request)).toEqual([0xff, 0xff, 0, 0, 0xea, 0x60]);
  });

  test('answer', () => {
    const payload = answer(0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x03, 0xe8, 0, 7);
    expect(initProducerIdRequest().decode(payload)).toEqual({
      errorCode: 0,
      producerId: 2n ** 32n + 1000n,
      producerEpoch: 7,
    });
  });
});

describe('Metadata v4', () => {
  test('request, of one topic, creating none', () => {
    const request = metadataRequest('log');
    expect([request.apiKey, request.apiVersion]).toEqual([3, 4]);
    expect(bodyOf(request)).toEqual(bytes(0, 0, 0, 1, 0, 3, 'log', 0));
  });

  test('answer, with a partition that has no leader', () => {
    const payload = answer(
      [0, 0, 0, 0],
      [0, 0, 0, 2],
      [0, 0, 0, 5, 0, 2],
      'b5',
      [0, 0, 0x23, 0x84, 0xff, 0xff], // port 9092, rack null
      [0, 0, 0, 6, 0, 2],
      'b6',
      [0, 0, 0x23, 0x85, 0, 2],
      'r1',
      [0, 1],
      'c', // cluster id
      [0, 0, 0, 5], // controller
      [0, 0, 0, 1],
      [0, 0, 0, 3],
      'log',
      0, // is_internal
      [0, 0, 0, 2],
      [0, 0, 0, 0, 0, 1, 0, 0, 0, 5], // no error, partition 1, leader 5
      [0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 5],
      [0, 5, 0, 0, 0, 0, MINUS_1], // LEADER_NOT_AVAILABLE, partition 0
      [0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0],
    );
    expect(metadataRequest('log').decode(payload)).toEqual({
      clusterId: 'c',
      nodes: [
        { nodeId: 5, host: 'b5', port: 9092 },
        { nodeId: 6, host: 'b6', port: 9093 },
      ],
      topicErrorCode: 0,
      partitions: [
        { errorCode: 0, partition: 1, leader: 5, replicas: 2, inSyncReplicas: 1 },
        { errorCode: 5, partition: 0, leader: -1, replicas: 1, inSyncReplicas: 0 },
      ],
    });
  });

  test('an answer without the topic is malformed', () => {
    const payload = answer(0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0);
    expect(() => metadataRequest('log').decode(payload)).toThrow(ResponseMalformed);
  });
});

describe('DescribeProducers v0', () => {
  test('request: flexible, with the header’s tag byte first', () => {
    const request = describeProducersRequest('log', 258);
    expect([request.apiKey, request.apiVersion]).toEqual([61, 0]);
    expect(bodyOf(request)).toEqual(bytes(0, 2, 4, 'log', 2, 0, 0, 1, 2, 0, 0));
  });

  test('answer, with tags that hoplog does not know', () => {
    const state = (id: number, last: number) => [
      [0, 0, 0, 0, 0, 0, 0, id],
      [0, 0, 0, 3],
      [0, 0, 0, last],
      LONG_0, // last_timestamp
      MINUS_1, // coordinator_epoch
      LONG_0, // current_txn_start_offset
    ];
    const payload = answer(
      [1, 9, 2, 0xaa, 0xbb], // header tags: one, number 9, two bytes
      [0, 0, 0, 0],
      [2, 4],
      'log',
      2,
      [0, 0, 0, 1],
      [0, 0],
      0, // error_message: null
      [3, state(7, 41), 0, state(8, 99), 0],
      [0, 0, 0],
    );
    expect(describeProducersRequest('log', 1).decode(payload)).toEqual({
      errorCode: 0,
      producers: [
        { producerId: 7n, producerEpoch: 3, lastSequence: 41 },
        { producerId: 8n, producerEpoch: 3, lastSequence: 99 },
      ],
    });
  });

  test('an answer with a refusal and its message', () => {
    const payload = answer(
      [0, 0, 0, 0, 0, 2, 4, 'log', 2],
      [0, 0, 0, 1, 0, 29, 3, 'no', 1],
      [0, 0, 0],
    );
    expect(describeProducersRequest('log', 1).decode(payload)).toEqual({
      errorCode: 29,
      producers: [],
    });
  });
});

describe('ListOffsets v1', () => {
  test('request for the earliest offset', () => {
    const request = earliestOffsetRequest('log', 3);
    expect([request.apiKey, request.apiVersion]).toEqual([2, 1]);
    const minus2 = [255, 255, 255, 255, 255, 255, 255, 254];
    expect(bodyOf(request)).toEqual(
      bytes(MINUS_1, 0, 0, 0, 1, 0, 3, 'log', 0, 0, 0, 1, 0, 0, 0, 3, minus2),
    );
  });

  test('answer', () => {
    const payload = answer(
      [0, 0, 0, 1, 0, 3, 'log', 0, 0, 0, 1],
      [0, 0, 0, 3, 0, 0, LONG_0, 0, 0, 0, 0, 0, 0, 1, 0],
    );
    expect(earliestOffsetRequest('log', 3).decode(payload)).toEqual({ errorCode: 0, offset: 256n });
  });
});

test('a ListOffsets answer about nothing is malformed', () => {
  const { decode } = earliestOffsetRequest('log', 3);
  expect(() => decode(answer(0, 0, 0, 0))).toThrow(ResponseMalformed);
});

describe('Fetch v4', () => {
  test('request', () => {
    const request = fetchRequest('log', 1, 259n);
    expect([request.apiKey, request.apiVersion]).toEqual([1, 4]);
    const fourMiB = [0, 0x40, 0, 0];
    expect(bodyOf(request)).toEqual(
      bytes(
        [MINUS_1, 0, 0, 0, 0, 0, 0, 0, 0], // replica, max_wait_ms, min_bytes
        [fourMiB, 0], // max_bytes, isolation_level
        [0, 0, 0, 1, 0, 3, 'log', 0, 0, 0, 1],
        [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 3, fourMiB],
      ),
    );
  });

  test('an answer about nothing is malformed', () => {
    const { decode } = fetchRequest('log', 1, 0n);
    expect(() => decode(answer(0, 0, 0, 0, 0, 0, 0, 0))).toThrow(ResponseMalformed);
  });

  test('answer, with aborted transactions to pass over', () => {
    const payload = answer(
      [0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 'log', 0, 0, 0, 1],
      [0, 0, 0, 1, 0, 0],
      [0, 0, 0, 0, 0, 0, 1, 4, LONG_0],
      [0, 0, 0, 1, LONG_0, LONG_0],
      [0, 0, 0, 3, 0xaa, 0xbb, 0xcc],
    );
    expect(fetchRequest('log', 1, 0n).decode(payload)).toEqual({
      errorCode: 0,
      highWatermark: 260n,
      throttleMs: 0,
      records: Buffer.from([0xaa, 0xbb, 0xcc]),
    });
  });
});

describe('DescribeConfigs v1', () => {
  test('request: one resource, the settings that are asked for, no synonyms', () => {
    const request = describeConfigsRequest('topic', 'log', ['a.b', 'c']);
    expect([request.apiKey, request.apiVersion]).toEqual([32, 1]);
    expect(bodyOf(request)).toEqual(
      bytes(0, 0, 0, 1, 2, 0, 3, 'log', 0, 0, 0, 2, 0, 3, 'a.b', 0, 1, 'c', 0),
    );
    expect(bodyOf(describeConfigsRequest('broker', '12', []))).toEqual(
      bytes(0, 0, 0, 1, 4, 0, 2, '12', 0, 0, 0, 0, 0),
    );
  });

  test('answer, with a value that is null and synonyms to pass over', () => {
    const payload = answer(
      [0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
      [0xff, 0xff, 2, 0, 3, 'log'], // error_message, resource
      [0, 0, 0, 2],
      [0, 3, 'a.b', 0, 2, '17', 0, 5, 0, 0, 0, 0, 1, 0, 1, 'd', 0xff, 0xff, 4],
      [0, 1, 'c', 0xff, 0xff, 1, 5, 1, 0, 0, 0, 0],
    );
    expect(describeConfigsRequest('topic', 'log', []).decode(payload)).toEqual({
      errorCode: 0,
      values: new Map([
        ['a.b', '17'],
        ['c', ''],
      ]),
    });
  });

  test('a refusal with its message, and an answer about nothing, which is malformed', () => {
    const { decode } = describeConfigsRequest('topic', 'log', []);
    const refusal = answer([0, 0, 0, 0, 0, 0, 0, 1, 0, 29, 0, 2, 'no', 2, 0, 3, 'log', 0, 0, 0, 0]);
    expect(decode(refusal)).toEqual({ errorCode: 29, values: new Map() });
    expect(() => decode(answer(0, 0, 0, 0, 0, 0, 0, 0))).toThrow(ResponseMalformed);
  });
});
