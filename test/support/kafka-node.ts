// One Kafka node as a process of its own: combined broker and controller, started and ended as a
// fault test needs it. Ports and data stay the same over restarts. Ends only what it started.
// It listens three times and more:
//   CONTROLLER  the controllers among themselves
//   DIRECT      the harness, Kafka's tools, replication: always the real port, so that what a test
//               puts between the product and Kafka never bends what the test sees
//   further     what a test asks for, such as secured listeners
//   CLIENT      the program under test; what it advertises may be a proxy's address

import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Subprocess } from 'bun';
import { javaCommand, runKafkaTool } from './kafka-jars.ts';
import { type ClusterState, KafkaConnection } from './kafka-wire.ts';
import { isStopped } from './proc.ts';
import { waitFor } from './wait-for.ts';

const START_MAX_MS = 60_000;
const STOP_MAX_MS = 60_000;
const FREEZE_MAX_MS = 10_000;
const ANSWER_MAX_MS = 2_000;
const LOG_TAIL_LINES = 20;

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface NodePorts {
  readonly controller: number;
  readonly direct: number;
  readonly client: number;
  /** By the name of the listener. */
  readonly further: ReadonlyMap<string, number>;
}

export interface NodeSetup {
  readonly id: number;
  readonly ports: NodePorts;
  /** Directory of this node alone. */
  readonly dir: string;
  readonly classPath: string;
  readonly clusterId: string;
  /** server.properties but for `log.dirs`. */
  readonly properties: Readonly<Record<string, string | number | boolean>>;
  readonly formatOptions: readonly string[];
  readonly jvmOptions: readonly string[];
}

/** Nodes to be ended with this process; only where it runs 'exit' handlers (`bun test` does not). */
const running = new Set<Subprocess>();
let endsAtExit = false;

export class KafkaNode {
  readonly id: number;
  readonly directPort: number;
  /** Where a proxy that is advertised instead of this node has to connect to. */
  readonly clientPort: number;
  /** Holds a directory `topic-partition` for each partition. */
  readonly dataDir: string;
  /** File with everything the process printed, over all its starts. */
  readonly log: string;
  readonly #configPath: string;
  readonly #command: readonly string[];
  #process: Subprocess | undefined;
  #frozen = false;

  /** Writes the node's configuration and formats its data directory. */
  static async create(setup: NodeSetup): Promise<KafkaNode> {
    const node = new KafkaNode(setup);
    mkdirSync(setup.dir);
    const lines = Object.entries({ ...setup.properties, 'log.dirs': node.dataDir });
    const text = lines.map(([key, value]) => `${key}=${value}\n`).join('');
    writeFileSync(node.#configPath, text);
    const format = ['format', '--cluster-id', setup.clusterId, '--config', node.#configPath];
    await runKafkaTool('kafka.tools.StorageTool', [...format, ...setup.formatOptions]);
    return node;
  }

  private constructor(setup: NodeSetup) {
    this.id = setup.id;
    this.directPort = setup.ports.direct;
    this.clientPort = setup.ports.client;
    this.dataDir = join(setup.dir, 'data');
    this.log = join(setup.dir, 'server.log');
    this.#configPath = join(setup.dir, 'server.properties');
    const jvmOptions = ['-Xmx512m', '-XX:+ExitOnOutOfMemoryError', ...setup.jvmOptions];
    this.#command = javaCommand(setup.classPath, 'kafka.Kafka', [this.#configPath], jvmOptions);
  }

  get running(): boolean {
    return this.#process !== undefined;
  }

  /** Runs and is not frozen: can be asked something. */
  get answers(): boolean {
    return this.running && !this.#frozen;
  }

  /** Throws when the node does not run. */
  get pid(): number {
    if (!this.#process) throw new Error(`Kafka node ${this.id} is not running`);
    return this.#process.pid;
  }

  /** Starts the process, with the data of last time, and waits until it serves. */
  async start(): Promise<void> {
    if (this.#process) throw new Error(`Kafka node ${this.id} is running already`);
    const child = this.#spawn();
    const ended = () => this.#process !== child;
    const serves = async () => {
      const { nodes } = await this.ask((to) => to.metadata());
      return nodes.some(({ id }) => id === this.id);
    };
    try {
      await waitFor(() => ended() || serves(), {
        timeoutMs: START_MAX_MS,
        what: `Kafka node ${this.id} to serve`,
      });
    } catch (error) {
      throw new Error(`${String(error)}${this.#logTail()}`, { cause: error });
    }
    if (ended()) {
      throw new Error(`Kafka node ${this.id} ended while it was starting${this.#logTail()}`);
    }
  }

  /** SIGTERM, the clean way: leaders move away first. Waits for the end of the process. */
  async stop(): Promise<void> {
    await this.#end('SIGTERM');
  }

  /** SIGKILL, as a crash. Nothing happens when the node does not run. */
  async kill(): Promise<void> {
    if (this.#process) await this.#end('SIGKILL');
  }

  /** SIGSTOP: connections stay open, and once this returns nothing answers. */
  freeze(): void {
    process.kill(this.pid, 'SIGSTOP');
    this.#frozen = true;
    const asked = performance.now();
    while (!isStopped(this.pid)) {
      if (performance.now() - asked > FREEZE_MAX_MS) throw new Error('Kafka does not freeze');
    }
  }

  /** SIGCONT: undoes `freeze`. */
  thaw(): void {
    process.kill(this.pid, 'SIGCONT');
    this.#frozen = false;
  }

  /** Opens a connection for one question to this node. */
  async ask<Answer>(
    question: (connection: KafkaConnection) => Promise<Answer>,
    timeoutMs = ANSWER_MAX_MS,
  ): Promise<Answer> {
    using connection = new KafkaConnection(this.directPort, timeoutMs);
    return await question(connection);
  }

  #spawn(): Subprocess {
    if (!endsAtExit) process.on('exit', endAll);
    endsAtExit = true;
    const output = openSync(this.log, 'a');
    const child = Bun.spawn([...this.#command], {
      stdin: 'ignore',
      stdout: output,
      stderr: output,
      onExit: (ended) => {
        running.delete(ended);
        if (this.#process === ended) this.#process = undefined;
      },
    });
    closeSync(output);
    running.add(child);
    this.#frozen = false;
    this.#process = child;
    return child;
  }

  async #end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#process;
    if (!child) throw new Error(`Kafka node ${this.id} is not running`);
    child.kill(signal);
    // A frozen process keeps a SIGTERM for later.
    if (signal === 'SIGTERM') child.kill('SIGCONT');
    await waitFor(() => this.#process !== child, {
      timeoutMs: STOP_MAX_MS,
      what: `Kafka node ${this.id} to end after ${signal}`,
    });
  }

  #logTail(): string {
    const lines = readFileSync(this.log, 'utf8').trimEnd().split('\n').slice(-LOG_TAIL_LINES);
    return `; last lines of its log:\n${lines.join('\n')}`;
  }
}

/** The first answer of any node; throws when none answers. */
export async function askAnyNode(
  nodes: readonly KafkaNode[],
  topic?: string,
): Promise<ClusterState> {
  const asked = nodes.filter((node) => node.answers);
  if (asked.length === 0) throw new Error('no Kafka node is running');
  try {
    return await Promise.any(asked.map((node) => node.ask((to) => to.metadata(topic))));
  } catch (error) {
    const first = error instanceof AggregateError ? error.errors[0] : error;
    throw new Error(`no Kafka node answers: ${String(first)}`, { cause: error });
  }
}

function endAll(): void {
  for (const child of running) child.kill('SIGKILL');
}
