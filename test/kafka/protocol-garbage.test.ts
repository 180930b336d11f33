// Answers come from the network: whatever bytes stand in for one, a decoder ends, soon, with an answer
// or with ResponseMalformed, and builds nothing that is larger than what it was given.

import { expect, test } from 'bun:test';
import * as fc from 'fast-check';
import {
  describeConfigsRequest,
  describeProducersRequest,
  earliestOffsetRequest,
  fetchRequest,
  initProducerIdRequest,
  type KafkaRequest,
  metadataRequest,
  produceRequest,
} from '../../src/kafka/protocol.ts';
import { ResponseMalformed } from '../../src/kafka/wire.ts';
import {
  describeConfigsAnswer,
  describeProducersAnswer,
  fetchAnswer,
  listOffsetsAnswer,
  metadataAnswer,
  produceAnswer,
  producerIdAnswer,
} from '../support/fake-answers.ts';
import { FakePartition } from '../support/fake-partition.ts';
import { runs } from '../support/properties.ts';
import { patience } from '../support/patience.ts';

const topic = 'log';
const partitions = Array.from({ length: 3 }, () => new FakePartition(0));
const nodes = [{ id: 0, port: 9092 }];
const producers = [{ producerId: 5n, epoch: 0, lastSequence: 9 }];
const asked = { topic: Buffer.from(topic), partition: 0 };
const body = (request: KafkaRequest<unknown>): Buffer => Buffer.concat(request.body);

/** Each request with a sound answer to it. */
const clusterId = 'fake-cluster';
const EXCHANGES: readonly [KafkaRequest<unknown>, Buffer][] = [
  [
    produceRequest(topic, 0, -1, 1, Buffer.alloc(61)),
    produceAnswer({ topic, partition: 0 }, 0, 1, 0),
  ],
  [initProducerIdRequest(), producerIdAnswer(0, 5)],
  [
    metadataRequest(topic),
    metadataAnswer(body(metadataRequest(topic)), { clusterId, topic, partitions }, nodes, 0),
  ],
  [
    describeConfigsRequest('topic', topic, ['a']),
    describeConfigsAnswer(
      body(describeConfigsRequest('topic', topic, ['a'])),
      { topic: { a: '1' }, broker: {} },
      0,
    ),
  ],
  [describeProducersRequest(topic, 0), describeProducersAnswer(asked, producers, 0)],
  [earliestOffsetRequest(topic, 0), listOffsetsAnswer(body(earliestOffsetRequest(topic, 0)), 0)],
  [fetchRequest(topic, 0, 0n), fetchAnswer(body(fetchRequest(topic, 0, 0n)), partitions, 99, 0)],
];

function attempt(request: KafkaRequest<unknown>, payload: Buffer): unknown {
  try {
    return request.decode(payload);
  } catch (error) {
    expect(error).toBeInstanceOf(ResponseMalformed);
    return undefined;
  }
}

for (const [request, sound] of EXCHANGES) {
  test(`${request.apiName}: a sound answer is read, each truncation of it is malformed`, () => {
    expect(attempt(request, sound)).toBeDefined();
    // The last bytes are tags or ones that hoplog does not need: cut before those.
    const needed = request.apiName === 'DescribeProducers' ? sound.length - 3 : sound.length;
    for (let length = 0; length < needed; length++) {
      expect(() => request.decode(sound.subarray(0, length))).toThrow(ResponseMalformed);
    }
  });

  test(`${request.apiName}: any single byte of an answer may be wrong`, () => {
    for (let at = 0; at < sound.length; at++) {
      for (const byte of [0, 1, 0x7f, 0x80, 0xff]) {
        const wrong = Buffer.from(sound);
        wrong[at] = byte;
        attempt(request, wrong);
      }
    }
  });

  test(`${request.apiName}: garbage is refused without a hang or a huge allocation`, () => {
    const garbage = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(garbage, (payload) => {
        const decoded = attempt(request, Buffer.from(payload));
        const size = JSON.stringify(decoded, (_, value: unknown) => String(value));
        expect((size ?? '').length).toBeLessThan(20_000);
      }),
      runs(300),
    );
  });
}

test('64 KiB of 0xff or 0x00 take no longer than they should', () => {
  for (const byte of [0, 1, 0x7f, 0x80, 0xff]) {
    const payload = Buffer.alloc(65_536, byte);
    const started = performance.now();
    for (const [request] of EXCHANGES) attempt(request, payload);
    expect(performance.now() - started).toBeLessThan(1000 * patience());
  }
});
