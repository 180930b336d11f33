// A Kafka cluster inside the test process: real sockets, real frames, the answers of a broker, and a
// script of faults. Speaks ApiVersions v0–2, Metadata v4, InitProducerId v1, Produce v7,
// DescribeProducers v0, DescribeConfigs v1, ListOffsets v1 and Fetch v4, with a spelling of its own (wire-bytes.ts): what
// checks src/kafka/protocol.ts must not repeat its mistakes. Sequences: fake-partition.ts.

import { createServer, type Server, type Socket } from 'node:net';
import {
  API,
  type Api,
  apiVersionsAnswer,
  describeConfigsAnswer,
  describeProducersAnswer,
  fetchAnswer,
  type Frame,
  frameOf,
  listOffsetsAnswer,
  metadataAnswer,
  produceAnswer,
  producerIdAnswer,
  readDescribeProducers,
  readFrame,
  readProduce,
  type Settings,
} from './fake-answers.ts';
import { CODE, FakePartition, type Fault } from './fake-partition.ts';

/** Answers with an error code, or cuts the connection: for requests other than Produce. */
export type ApiFault = { readonly code: number } | 'cut';

export interface FakeClusterOptions {
  readonly nodes?: number;
  readonly partitions?: number;
  readonly firstProducerId?: number;
  readonly clusterId?: string;
}

interface FakeNode {
  readonly id: number;
  readonly server: Server;
  readonly sockets: Set<Socket>;
  port: number;
}

export class FakeCluster implements AsyncDisposable {
  readonly topic = 'log';
  clusterId: string;
  readonly partitions: FakePartition[] = [];
  /** Consumed one per request of the kind. */
  readonly apiFaults: Partial<Record<Api, ApiFault[]>> = {};
  /** Requests so far, by kind. */
  readonly requests: Record<Api, number>;
  /** After so many more, Produce requests wait unprocessed; other requests are answered. */
  holdAfter = Infinity;
  /** The same, once the log holds so many records. */
  holdAtRecords = Infinity;
  /** A Fetch answer is cut off at this. */
  fetchBytesMax = Infinity;
  /** So many Fetch answers hold no records, as from a broker over its quota. */
  emptyFetches = 0;
  /** What DescribeConfigs says. */
  readonly settings = { topic: {} as Settings, broker: {} as Settings };
  readonly #held: (() => void)[] = [];
  readonly #nodes: FakeNode[] = [];
  #nextProducerId: number;

  static async start(options: FakeClusterOptions = {}): Promise<FakeCluster> {
    const { nodes = 1, partitions = 1, firstProducerId = 1000 } = options;
    const cluster = new FakeCluster(firstProducerId, options.clusterId ?? 'fake-cluster');
    for (let id = 0; id < nodes; id++) await cluster.#startNode(id);
    for (let at = 0; at < partitions; at++) cluster.addPartition();
    return cluster;
  }

  private constructor(firstProducerId: number, clusterId: string) {
    this.clusterId = clusterId;
    this.#nextProducerId = firstProducerId;
    const kinds = Object.keys(API).map((api) => [api, 0]);
    this.requests = Object.fromEntries(kinds) as Record<Api, number>;
  }

  /** Where clients begin. */
  get brokers(): { host: string; port: number }[] {
    return this.#nodes.map(({ port }) => ({ host: '127.0.0.1', port }));
  }

  /** Produce requests that wait. */
  get held(): number {
    return this.#held.length;
  }

  /** Values of all partitions, a partition after the other. */
  get values(): string[] {
    return this.partitions.flatMap(({ values }) => values);
  }

  get connections(): number {
    return this.#nodes.reduce((sum, { sockets }) => sum + sockets.size, 0);
  }

  addPartition(): FakePartition {
    const partition = new FakePartition(this.partitions.length % this.#nodes.length);
    this.partitions.push(partition);
    return partition;
  }

  /** The topic is deleted and made anew, empty, with so many partitions. */
  remake(partitions: number): void {
    this.partitions.length = 0;
    for (let at = 0; at < partitions; at++) this.addPartition();
  }

  /** Another cluster is behind the same addresses: nothing is left, and ids begin anew. */
  rebuild(clusterId: string, firstProducerId: number): void {
    this.clusterId = clusterId;
    this.#nextProducerId = firstProducerId;
    this.remake(this.partitions.length);
  }

  /** The faults of the next Produce requests to a partition. */
  script(partition: number, ...faults: readonly Fault[]): void {
    this.partitions[partition]?.faults.push(...faults);
  }

  hold(): void {
    this.holdAfter = 0;
  }

  /** Processes what waits, and from now on what comes. */
  release(): void {
    this.#holdNothing();
    this.process(this.#held.length);
  }

  /** Processes the first `count` that wait; the others wait on. */
  process(count: number): void {
    for (const handle of this.#held.splice(0, count)) handle();
  }

  /** What waits is lost, as in a broker that dies. */
  drop(): void {
    this.#holdNothing();
    this.#held.length = 0;
  }

  /** A node stops: its port refuses connections, those that are open end. */
  async stopNode(id: number): Promise<void> {
    const node = this.#nodes[id]!;
    for (const socket of node.sockets) socket.destroy();
    const { promise, resolve } = Promise.withResolvers<void>();
    node.server.close(() => resolve());
    await promise;
  }

  /** A stopped node is back at its old port. */
  async restartNode(id: number): Promise<void> {
    await this.#listen(this.#nodes[id]!);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const listening = this.#nodes.filter(({ server }) => server.listening);
    await Promise.all(listening.map(({ id }) => this.stopNode(id)));
  }

  #holdNothing(): void {
    this.holdAfter = Infinity;
    this.holdAtRecords = Infinity;
  }

  async #startNode(id: number): Promise<void> {
    const server = createServer();
    const node: FakeNode = { id, server, sockets: new Set(), port: 0 };
    server.on('connection', (socket) => this.#serve(node, socket));
    this.#nodes.push(node);
    await this.#listen(node);
  }

  async #listen(node: FakeNode): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    node.server.once('error', reject);
    node.server.listen(node.port, '127.0.0.1', () => resolve());
    await promise;
    node.port = (node.server.address() as { port: number }).port;
  }

  #serve(node: FakeNode, socket: Socket): void {
    node.sockets.add(socket);
    socket.on('error', () => {}); // clients may leave as they like
    socket.on('close', () => node.sockets.delete(socket));
    let buffered = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      buffered = Buffer.concat([buffered, chunk]);
      while (buffered.length >= 4) {
        const end = 4 + buffered.readInt32BE(0);
        if (buffered.length < end) return;
        this.#dispatch(node, socket, readFrame(buffered.subarray(4, end)));
        buffered = buffered.subarray(end);
      }
    });
  }

  #dispatch(node: FakeNode, socket: Socket, frame: Frame): void {
    const { api } = frame;
    this.requests[api]++;
    const answer = (payload: Buffer): void =>
      void socket.write(frameOf(frame.correlationId, payload));
    if (api === 'produce') {
      const handle = (): void => this.#produce(node, socket, frame.body, answer);
      const held = this.holdAfter-- <= 0 || this.values.length >= this.holdAtRecords;
      if (held) this.#held.push(handle);
      else handle();
      return;
    }
    const fault = this.apiFaults[api]?.shift();
    if (fault === 'cut') socket.destroy();
    else answer(this.#answers[api](frame, node, fault?.code ?? CODE.NONE));
  }

  readonly #answers: Record<
    Exclude<Api, 'produce'>,
    (frame: Frame, node: FakeNode, code: number) => Buffer
  > = {
    apiVersions: ({ version }) => apiVersionsAnswer(version),
    metadata: ({ body }, _node, code) => metadataAnswer(body, this, this.#nodes, code),
    initProducerId: (_frame, _node, code) => producerIdAnswer(code, this.#nextProducerId++),
    listOffsets: ({ body }, _node, code) => listOffsetsAnswer(body, code),
    fetch: ({ body }, _node, code) => {
      const bytesMax = this.emptyFetches-- > 0 ? 0 : this.fetchBytesMax;
      return fetchAnswer(body, this.partitions, bytesMax, code);
    },
    describeConfigs: ({ body }, _node, code) => describeConfigsAnswer(body, this.settings, code),
    describeProducers: ({ body }, node, code) => {
      const asked = readDescribeProducers(body);
      const { leader, producers } = this.partitions[asked.partition]!;
      const wrongNode = leader !== node.id ? CODE.NOT_LEADER_OR_FOLLOWER : code;
      return describeProducersAnswer(asked, producers, wrongNode);
    },
  };

  #produce(node: FakeNode, socket: Socket, body: Buffer, answer: (payload: Buffer) => void): void {
    const seen = readProduce(body);
    const result = (code: number, offset = -1, throttleMs = 0): void =>
      answer(produceAnswer(seen, code, offset, throttleMs));
    const partition = this.partitions[seen.partition];
    if (!partition) {
      result(CODE.UNKNOWN_TOPIC_OR_PARTITION);
      return;
    }
    const batch = partition.note(seen.batch);
    if (partition.leader !== node.id) {
      result(CODE.NOT_LEADER_OR_FOLLOWER);
      return;
    }
    const fault = partition.faults.shift() ?? { kind: 'none' };
    const untouched = ['refused', 'cut', 'silence'].includes(fault.kind);
    const { code, offset } = untouched ? { code: 0, offset: -1 } : partition.append(batch);
    if ('code' in fault) result(code === CODE.NONE ? fault.code : code);
    else if ('throttleMs' in fault) result(code, offset, fault.throttleMs);
    else if (fault.kind === 'none') result(code, offset);
    else if (fault.kind === 'appended, half an answer') {
      socket.end(frameOf(0, Buffer.alloc(60)).subarray(0, 20));
    } else if (fault.kind.endsWith('cut')) socket.destroy();
    // Silence is what is left.
  }
}
