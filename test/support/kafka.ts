// A real Kafka for tests and the bench: one node or three, in KRaft mode, on this machine, in a
// directory of its own that goes with it. `await using kafka = await startKafka({ nodes: 1 })`.
// Invariant: nothing of it outlives the scope, not even when the start fails half-way.
// See kafka-node.ts for the listeners and why readers and tools never pass through a proxy.

import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { Kafka, logLevel } from 'kafkajs';
import { freePort } from './free-port.ts';
import { kafkaClassPath, kafkaUnavailable } from './kafka-jars.ts';
import { type Address, askAnyNode, KafkaNode, type NodePorts } from './kafka-node.ts';
import type { PartitionState, TopicSpec } from './kafka-wire.ts';
import type { TopicRecord } from './record-batches.ts';
import { tempDir } from './temp-dir.ts';
import { readTopic, type ReadOptions, type TopicEnd, topicEnd } from './topic-reader.ts';
import { waitFor } from './wait-for.ts';

export { KAFKA_VERSION, kafkaUnavailable } from './kafka-jars.ts';

const READY_MAX_MS = 60_000;
const CREATE_MAX_MS = 10_000;
// 1.8 s of CPU until a node serves, instead of 3.1: three nodes share the cores while they start.
const QUICK_START = ['-XX:TieredStopAtLevel=1'];

export interface ListenerSpec {
  /** In capitals. */
  readonly name: string;
  readonly protocol: 'SSL' | 'SASL_PLAINTEXT' | 'SASL_SSL';
  /** Those that Kafka takes with the prefix `listener.name.NAME.`, given without it. */
  readonly properties: Readonly<Record<string, string | number>>;
}

export interface KafkaOptions {
  readonly nodes: 1 | 3;
  readonly topics?: readonly TopicSpec[];
  /** For server.properties of all nodes; wins over the harness's own. */
  readonly serverProperties?: Readonly<Record<string, string | number | boolean>>;
  /**
   * Further options for each node's JVM. By default it compiles quickly rather than well, which
   * halves the start; a bench wants `[]`.
   */
  readonly jvmOptions?: readonly string[];
  /** Further listeners on each node, past all proxies. */
  readonly listeners?: readonly ListenerSpec[];
  /** For Kafka's `format`, such as `--add-scram` and its value. */
  readonly formatOptions?: readonly string[];
  /** What node 1, 2, 3 tells clients to connect to, when that is a proxy's address. */
  readonly advertised?: readonly Address[];
}

export interface KafkaCluster extends AsyncDisposable {
  /** host:port list for the program under test: the proxies, when `advertised` names some. */
  readonly brokers: string;
  /** host:port list of one of the further listeners. */
  listener(name: string): string;
  /** host:port list that leads past all proxies, for tools. */
  readonly directBrokers: string;
  /** By id, from 1. */
  readonly nodes: readonly KafkaNode[];
  /** Creates a topic and waits until each node that answers knows a leader of all its partitions. */
  createTopic(topic: TopicSpec): Promise<void>;
  /** Leaders and replicas, by partition. */
  describeTopic(name: string): Promise<readonly PartitionState[]>;
  /** All records up to the end the topic has when the call begins, by partition and offset. */
  readTopic(name: string, options?: ReadOptions): Promise<TopicRecord[]>;
  topicEnd(name: string): Promise<TopicEnd>;
  /** A kafkajs client past all proxies, for what else a test has to do to the cluster. */
  client(): Kafka;
}

export async function startKafka(options: KafkaOptions): Promise<KafkaCluster> {
  const obstacle = kafkaUnavailable();
  if (obstacle !== undefined) throw new Error(`Kafka cannot run here: ${obstacle}`);
  const classPath = await kafkaClassPath();
  await using started = new AsyncDisposableStack();
  const dir = started.use(tempDir());
  const clusterId = newClusterId();
  const ports = await freePorts(options);
  const nodes = await Promise.all(
    ports.map((own, index) => {
      const id = index + 1;
      const properties = nodeProperties(id, ports, options);
      return KafkaNode.create({
        id,
        ports: own,
        dir: join(dir.path, `node-${id}`),
        classPath,
        clusterId,
        properties,
        formatOptions: options.formatOptions ?? [],
        jvmOptions: options.jvmOptions ?? QUICK_START,
      });
    }),
  );
  started.defer(async () => {
    // No clean way down: the data goes too, and a majority that goes leaves the last node waiting.
    await Promise.all(nodes.map((node) => node.kill()));
  });
  await Promise.all(nodes.map((node) => node.start()));
  await waitFor(() => allKnowAll(nodes), {
    timeoutMs: READY_MAX_MS,
    what: `${nodes.length} Kafka nodes to know each other`,
  });
  const advertised = options.advertised ?? ports.map(({ client: port }) => local(port));
  const brokers = advertised.map(({ host, port }) => `${host}:${port}`).join();
  for (const topic of options.topics ?? []) await createTopic(nodes, topic);
  const listener = (name: string): string =>
    ports.map(({ further }) => `127.0.0.1:${further.get(name)!}`).join();
  return newCluster({ brokers, listener }, nodes, started.move());
}

function newCluster(
  addresses: Pick<KafkaCluster, 'brokers' | 'listener'>,
  nodes: readonly KafkaNode[],
  resources: AsyncDisposableStack,
): KafkaCluster {
  const direct = nodes.map(({ directPort }) => `127.0.0.1:${directPort}`);
  return {
    ...addresses,
    directBrokers: direct.join(),
    nodes,
    createTopic: (topic) => createTopic(nodes, topic),
    describeTopic: async (name) => (await askAnyNode(nodes, name)).partitions,
    readTopic: (name, options) => readTopic(nodes, name, options),
    topicEnd: (name) => topicEnd(nodes, name),
    client: () => newClient(direct),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Everything about retries is said: kafkajs has other defaults under NODE_ENV=test. */
function newClient(brokers: string[]): Kafka {
  const retry = {
    retries: 8,
    initialRetryTime: 100,
    maxRetryTime: 1_000,
    factor: 0.2,
    multiplier: 2,
  };
  return new Kafka({ clientId: 'hoplog-test', brokers, logLevel: logLevel.NOTHING, retry });
}

async function createTopic(nodes: readonly KafkaNode[], topic: TopicSpec): Promise<void> {
  const alive = nodes.filter((node) => node.answers);
  const [first] = alive;
  if (!first) throw new Error('no Kafka node is running');
  // Any node passes it on to the controller.
  await first.ask((to) => to.createTopic(topic), CREATE_MAX_MS);
  const known = async (node: KafkaNode) => {
    const { partitions } = await node.ask((to) => to.metadata(topic.name));
    const ready = partitions.filter(({ leader }) => leader !== -1);
    return ready.length === topic.partitions;
  };
  await waitFor(async () => (await Promise.all(alive.map(known))).every(Boolean), {
    timeoutMs: READY_MAX_MS,
    what: `topic ${topic.name} to have leaders`,
  });
}

async function allKnowAll(nodes: readonly KafkaNode[]): Promise<boolean> {
  const states = await Promise.all(nodes.map((node) => node.ask((to) => to.metadata())));
  return states.every((state) => state.nodes.length === nodes.length);
}

/** server.properties of one node. */
function nodeProperties(
  id: number,
  ports: readonly NodePorts[],
  { serverProperties, advertised, listeners = [] }: KafkaOptions,
): Record<string, string | number | boolean> {
  const own = ports[id - 1]!;
  const client = advertised?.[id - 1] ?? local(own.client);
  const direct = `DIRECT://127.0.0.1:${own.direct}`;
  const further = [...own.further].map(([name, port]) => `,${name}://127.0.0.1:${port}`).join('');
  const protocols = listeners.map(({ name, protocol }) => `,${name}:${protocol}`).join('');
  const replicas = ports.length;
  const inSyncMin = replicas === 1 ? 1 : 2;
  return {
    'process.roles': 'broker,controller',
    'node.id': id,
    'controller.quorum.voters': ports
      .map(({ controller }, index) => `${index + 1}@127.0.0.1:${controller}`)
      .join(),
    listeners: `CONTROLLER://127.0.0.1:${own.controller},${direct},CLIENT://127.0.0.1:${own.client}${further}`,
    'advertised.listeners': `${direct},CLIENT://${client.host}:${client.port}${further}`,
    'listener.security.protocol.map': `CONTROLLER:PLAINTEXT,DIRECT:PLAINTEXT,CLIENT:PLAINTEXT${protocols}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'DIRECT',
    'auto.create.topics.enable': false,
    'default.replication.factor': replicas,
    'min.insync.replicas': inSyncMin,
    'offsets.topic.replication.factor': replicas,
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': inSyncMin,
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': inSyncMin,
    // Kafka's own topics have 50 partitions otherwise.
    'offsets.topic.num.partitions': 1,
    'transaction.state.log.num.partitions': 1,
    'share.coordinator.state.topic.num.partitions': 1,
    'group.initial.rebalance.delay.ms': 0,
    // How long a node that was killed keeps its leaderships, and may not register anew: 9 s else.
    'broker.heartbeat.interval.ms': 500,
    'broker.session.timeout.ms': 3_000,
    // 128 MB of the heap otherwise, for nothing.
    'log.cleaner.dedupe.buffer.size': 2 * 1024 * 1024,
    ...Object.fromEntries(listeners.flatMap(listenerProperties)),
    ...serverProperties,
  };
}

function listenerProperties({ name, properties }: ListenerSpec): [string, string | number][] {
  const prefix = `listener.name.${name.toLowerCase()}.`;
  return Object.entries(properties).map(([key, value]) => [`${prefix}${key}`, value]);
}

function local(port: number): Address {
  return { host: '127.0.0.1', port };
}

/** Kafka's Uuid: 16 bytes; the first one is 0, so that it never begins with '-' like an option. */
function newClusterId(): string {
  return Buffer.concat([Buffer.alloc(1), randomBytes(15)]).toString('base64url');
}

async function freePorts({ nodes, listeners = [] }: KafkaOptions): Promise<NodePorts[]> {
  const perNode = 3 + listeners.length;
  const free = new Set<number>();
  while (free.size < nodes * perNode) free.add(await freePort());
  const ports = [...free];
  return Array.from({ length: nodes }, (_, index) => {
    const [controller, direct, client, ...rest] = ports.slice(index * perNode);
    const further = new Map(listeners.map(({ name }, at) => [name, rest[at]!]));
    return { controller: controller!, direct: direct!, client: client!, further };
  });
}
