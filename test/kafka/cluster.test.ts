// Connections: what is asked is answered by the right node, a connection that failed in whatever way
// is thrown away and the next request gets a new one, garbage from a broker costs a connection and
// never the process, and a cluster at rest costs nothing.

import { describe, expect, spyOn, test } from 'bun:test';
import { createServer, type Socket } from 'node:net';
import { Cluster } from '../../src/kafka/cluster.ts';
import { BrokerUnreachable } from '../../src/kafka/unreachable.ts';
import { initProducerIdRequest, produceRequest } from '../../src/kafka/protocol.ts';
import { apiVersionsAnswer, frameOf, producerIdAnswer } from '../support/fake-answers.ts';
import { failureOf } from '../support/failure-of.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { laterClock, timePasses } from '../support/short-sleeps.ts';
import { waitFor } from '../support/wait-for.ts';

const WAIT_MS = 3000;

function clusterOf(fake: FakeCluster): Cluster & AsyncDisposable {
  const cluster = new Cluster(fake.brokers, 'hoplog-test');
  return Object.assign(cluster, { [Symbol.asyncDispose]: () => cluster.close() });
}

/** A server that answers each chunk with `respond`; not necessarily in Kafka's language. */
async function strangeServer(
  respond: (socket: Socket, request: Buffer) => void,
): Promise<{ port: number; sockets: Set<Socket> } & Disposable> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (request: Buffer) => respond(socket, request));
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', () => resolve());
  await promise;
  const { port } = server.address() as { port: number };
  return {
    port,
    sockets,
    [Symbol.dispose]: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

async function unreachable(attempt: Promise<unknown>): Promise<BrokerUnreachable> {
  const error = await failureOf(attempt);
  expect(error).toBeInstanceOf(BrokerUnreachable);
  return error as BrokerUnreachable;
}

describe('asking', () => {
  test('metadata tells the nodes, and requests go to the node they are for', async () => {
    await using fake = await FakeCluster.start({ nodes: 3, partitions: 3 });
    await using cluster = clusterOf(fake);
    const { nodes, partitions } = await cluster.metadata('log');
    expect(nodes.map(({ port }) => port)).toEqual(fake.brokers.map(({ port }) => port));
    expect(partitions.map(({ leader }) => leader)).toEqual([0, 1, 2]);
    const batch = Buffer.alloc(61);
    // Not a batch, which only the leader gets to see; the others refuse before.
    const codes = [0, 1, 2].map((node) =>
      cluster.send(node, produceRequest('log', 2, -1, 1, batch)),
    );
    const answers = await Promise.all(codes);
    expect(answers.map(({ errorCode }) => errorCode)).toEqual([6, 6, 2]);
  });

  test('a node that is not in the metadata is unreachable, and nothing was sent', async () => {
    await using fake = await FakeCluster.start();
    await using cluster = clusterOf(fake);
    await cluster.metadata('log');
    const error = await unreachable(cluster.send(9, initProducerIdRequest()));
    expect(error.sent).toBe(false);
    expect(error.message).toContain('node 9');
  });

  test('one dead host in the list does not matter', async () => {
    await using fake = await FakeCluster.start({ nodes: 2 });
    await fake.stopNode(0);
    await using cluster = clusterOf(fake);
    expect((await cluster.metadata('log')).topicErrorCode).toBe(0);
  });

  test('when no broker answers the error names each of them', async () => {
    await using fake = await FakeCluster.start({ nodes: 2 });
    await Promise.all([fake.stopNode(0), fake.stopNode(1)]);
    await using cluster = clusterOf(fake);
    const error = await unreachable(cluster.metadata('log'));
    for (const { port } of fake.brokers) expect(error.message).toContain(`127.0.0.1:${port}`);
    expect(error.message).not.toContain('\n');
  });

  test('a broker that is in the list and in the metadata is asked once', async () => {
    await using fake = await FakeCluster.start({ nodes: 2 });
    await using cluster = clusterOf(fake);
    await cluster.metadata('log');
    fake.apiFaults.metadata = ['cut', 'cut', 'cut', 'cut'];
    const before = fake.requests.metadata;
    await unreachable(cluster.metadata('log'));
    expect(fake.requests.metadata - before).toBe(2);
  });

  test('requests at the same time share one connection and get their own answers', async () => {
    await using fake = await FakeCluster.start();
    await using cluster = clusterOf(fake);
    await cluster.metadata('log');
    const asked = Array.from({ length: 20 }, () => cluster.send(0, initProducerIdRequest()));
    const ids = (await Promise.all(asked)).map(({ producerId }) => Number(producerId));
    expect(ids).toEqual(Array.from({ length: 20 }, (_, index) => 1000 + index));
    expect([fake.connections, cluster.connections]).toEqual([1, 1]);
  });
});

describe('failing', () => {
  test('a cut connection is replaced for the next request', async () => {
    await using fake = await FakeCluster.start();
    await using cluster = clusterOf(fake);
    await cluster.metadata('log');
    fake.apiFaults.initProducerId = ['cut'];
    const error = await unreachable(cluster.send(0, initProducerIdRequest()));
    expect(error.sent).toBe(true);
    expect(cluster.connections).toBe(0);
    expect((await cluster.send(0, initProducerIdRequest())).errorCode).toBe(0);
    expect(cluster.connections).toBe(1);
  });

  test('a connection that the broker closed while it was idle is replaced', async () => {
    await using fake = await FakeCluster.start();
    await using cluster = clusterOf(fake);
    await cluster.metadata('log');
    await fake.stopNode(0);
    await fake.restartNode(0);
    await waitFor(() => cluster.send(0, initProducerIdRequest()), {
      timeoutMs: WAIT_MS,
      what: 'an answer over a new connection',
    });
  });

  test('a connection that is reset fails what waits, at once', async () => {
    using server = await strangeServer((socket, request) => {
      const isApiVersions = request.readInt16BE(4) === 18;
      const payload = apiVersionsAnswer(request.readInt16BE(6));
      if (isApiVersions) socket.write(frameOf(request.readInt32BE(8), payload));
      else socket.resetAndDestroy();
    });
    const cluster = new Cluster([{ host: '127.0.0.1', port: server.port }], 'hoplog-test');
    await unreachable(cluster.metadata('log'));
    await cluster.close();
  }, 1000);

  test('what was left of a broken answer is not read as the head of the next one', async () => {
    let connections = 0;
    using server = await strangeServer((socket, request) => {
      const correlationId = request.readInt32BE(8);
      const isApiVersions = request.readInt16BE(4) === 18;
      const version = request.readInt16BE(6);
      if (isApiVersions) connections++;
      const payload = isApiVersions ? apiVersionsAnswer(version) : producerIdAnswer(0, connections);
      const answer = frameOf(correlationId, payload);
      // Behind its first real answer the first connection ends in the middle of another frame.
      if (isApiVersions || connections > 1) socket.write(answer);
      else socket.end(Buffer.concat([answer, answer.subarray(0, 9)]));
    });
    const cluster = new Cluster([{ host: '127.0.0.1', port: server.port }], 'hoplog-test');
    expect((await cluster.sendToAny(initProducerIdRequest())).producerId).toBe(1n);
    await waitFor(() => server.sockets.size === 0, { timeoutMs: WAIT_MS, what: 'its end' });
    expect((await cluster.sendToAny(initProducerIdRequest())).producerId).toBe(2n);
    await cluster.close();
  }, 2000);

  test('all that waits for an answer fails at once when the connection ends', async () => {
    await using fake = await FakeCluster.start();
    await using cluster = clusterOf(fake);
    await cluster.metadata('log');
    fake.hold();
    const batch = Buffer.alloc(61);
    const asked = [1, 2, 3].map(() => cluster.send(0, produceRequest('log', 0, -1, 1, batch)));
    const failures = Promise.all(asked.map(unreachable));
    await waitFor(() => fake.held === 3, { timeoutMs: WAIT_MS, what: 'three requests' });
    await fake.stopNode(0);
    expect((await failures).map(({ sent }) => sent)).toEqual([true, true, true]);
  });

  test('a broker that falls silent is given up after the request time-out', async () => {
    await using fake = await FakeCluster.start();
    await using cluster = clusterOf(fake);
    await cluster.metadata('log');
    fake.hold();
    const asked = unreachable(cluster.send(0, produceRequest('log', 0, -1, 1, Buffer.alloc(61))));
    await waitFor(() => fake.held === 1, { timeoutMs: WAIT_MS, what: 'the request' });
    {
      // The wall's clock says nothing about it, wherever it is put.
      using _back = laterClock(-3_600_000);
      using _ = timePasses(31_000);
      const error = await asked;
      expect(error.sent).toBe(true);
      expect(error.message).toContain('timed out');
    }
    // Its stream may be stuck: it is not used again.
    fake.drop();
    expect((await cluster.send(0, initProducerIdRequest())).errorCode).toBe(0);
    await waitFor(() => fake.connections === 1, { timeoutMs: WAIT_MS, what: 'the old one closed' });
  });

  test('close ends all connections and fails what is out', async () => {
    await using fake = await FakeCluster.start({ nodes: 2, partitions: 2 });
    await using cluster = clusterOf(fake);
    await cluster.metadata('log');
    fake.hold();
    const batch = Buffer.alloc(61);
    const asked = [0, 1].map((node) =>
      cluster.send(node, produceRequest('log', node, -1, 1, batch)),
    );
    const failures = Promise.all(asked.map(unreachable));
    await waitFor(() => fake.held === 2, { timeoutMs: WAIT_MS, what: 'two requests' });
    await cluster.close();
    await failures;
    await waitFor(() => fake.connections === 0, { timeoutMs: WAIT_MS, what: 'no connection' });
  });
});

describe('new credentials', () => {
  test('what is on its way over the old connection is answered, what comes next waits for that', async () => {
    await using fake = await FakeCluster.start();
    await using cluster = clusterOf(fake);
    await cluster.metadata('log');
    fake.hold();
    const batch = Buffer.alloc(61);
    const produce = () => cluster.send(0, produceRequest('log', 0, -1, 1, batch));
    const before = [produce(), produce()];
    await waitFor(() => fake.held === 2, { timeoutMs: WAIT_MS, what: 'two requests' });
    cluster.secure({});
    const after = produce();
    const askedAt = performance.now();
    const later = () => performance.now() - askedAt > 30;
    await waitFor(later, { timeoutMs: WAIT_MS, what: 'time to send it in' });
    expect(fake.held).toBe(2);
    fake.release();
    expect((await Promise.all([...before, after])).map(({ errorCode }) => errorCode)).toEqual([
      2, 2, 2,
    ]);
    await waitFor(() => fake.connections === 1, { timeoutMs: WAIT_MS, what: 'the old one closed' });
  });

  test('a request that was just given the old connection is not lost', async () => {
    await using fake = await FakeCluster.start();
    await using cluster = clusterOf(fake);
    await cluster.metadata('log');
    for (let times = 20; times > 0; times--) {
      const asked = [1, 2, 3].map(() => cluster.send(0, initProducerIdRequest()));
      cluster.secure({});
      const answers = await Promise.all([...asked, cluster.send(0, initProducerIdRequest())]);
      expect(answers.map(({ errorCode }) => errorCode)).toEqual([0, 0, 0, 0]);
    }
    await waitFor(() => fake.connections === 1, {
      timeoutMs: WAIT_MS,
      what: 'the old ones closed',
    });
  });

  test('an old connection that falls silent ends with the request time-out, and the next one opens', async () => {
    await using fake = await FakeCluster.start();
    await using cluster = clusterOf(fake);
    await cluster.metadata('log');
    fake.hold();
    const asked = unreachable(cluster.send(0, produceRequest('log', 0, -1, 1, Buffer.alloc(61))));
    await waitFor(() => fake.held === 1, { timeoutMs: WAIT_MS, what: 'the request' });
    cluster.secure({});
    const next = cluster.send(0, initProducerIdRequest());
    {
      using _ = timePasses(31_000);
      await asked;
    }
    fake.drop();
    expect((await next).errorCode).toBe(0);
  });
});

describe('garbage', () => {
  const FRAMES = {
    'a frame of length 0': [0, 0, 0, 0],
    'a frame too short for its header': [0, 0, 0, 2, 1, 2],
    'a negative length': [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1],
    'a very negative length': [0x80, 0, 0, 0, 0, 0, 0, 1],
  };
  for (const [what, frame] of Object.entries(FRAMES)) {
    test(`${what} costs the connection, not the process`, async () => {
      using server = await strangeServer((socket) => void socket.write(Buffer.from(frame)));
      const cluster = new Cluster([{ host: '127.0.0.1', port: server.port }], 'hoplog-test');
      // At once, that is: the request time-out of 30 s would be over the limit of this test.
      await unreachable(cluster.metadata('log'));
      await cluster.close();
    }, 1000);
  }

  test('an answer that cannot be decoded costs the connection', async () => {
    using server = await strangeServer((socket, request) => {
      const correlationId = request.readInt32BE(8);
      const isApiVersions = request.readInt16BE(4) === 18;
      const version = request.readInt16BE(6);
      const payload = isApiVersions ? apiVersionsAnswer(version) : Buffer.from([1, 2, 3]);
      socket.write(frameOf(correlationId, payload));
    });
    const cluster = new Cluster([{ host: '127.0.0.1', port: server.port }], 'hoplog-test');
    const error = await unreachable(cluster.metadata('log'));
    expect(error.message).toContain('answer ends at byte 3');
    await waitFor(() => server.sockets.size === 0, { timeoutMs: WAIT_MS, what: 'its end' });
    await cluster.close();
  });

  test('an answer to a question never asked changes nothing', async () => {
    using server = await strangeServer((socket, request) => {
      const correlationId = request.readInt32BE(8);
      socket.write(frameOf(correlationId + 77, Buffer.alloc(9)));
      if (request.readInt16BE(4) === 18) {
        socket.write(frameOf(correlationId, apiVersionsAnswer(request.readInt16BE(6))));
      } else socket.write(frameOf(correlationId, producerIdAnswer(0, 5)));
    });
    const cluster = new Cluster([{ host: '127.0.0.1', port: server.port }], 'hoplog-test');
    const { producerId } = await cluster.sendToAny(initProducerIdRequest());
    expect(producerId).toBe(5n);
    await cluster.close();
  });
});

test('a throttle ends when it should, although the clock was put back meanwhile', async () => {
  await using fake = await FakeCluster.start();
  await using cluster = clusterOf(fake);
  await cluster.metadata('log');
  fake.script(0, { kind: 'throttled', throttleMs: 100 });
  const produce = () => cluster.send(0, produceRequest('log', 0, -1, 1, Buffer.alloc(61)));
  await produce();
  using _back = laterClock(-3_600_000);
  await Promise.all([produce(), produce()]);
});

test('a cluster at rest arms no timer again and again (tulios/kafkajs#1751)', async () => {
  await using fake = await FakeCluster.start();
  await using cluster = clusterOf(fake);
  await cluster.metadata('log');
  using timers = spyOn(globalThis, 'setTimeout');
  const restAt = performance.now();
  for (let times = 5; times > 0; times--) await cluster.send(0, initProducerIdRequest());
  await waitFor(() => performance.now() - restAt > 30, { timeoutMs: WAIT_MS, what: 'some rest' });
  // kafkajs arms with "until the throttle ends", which is long ago: a millisecond, again and again.
  expect(timers.mock.calls.filter(([, ms]) => (ms ?? 0) < 0)).toEqual([]);
});
