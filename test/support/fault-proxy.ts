// A TCP proxy between hoplog and Kafka's nodes that reads Kafka's frames: it delays, cuts, swallows,
// rewrites and refuses, when a test says so, and counts how often that really happened. A listener a node;
// Metadata answers name the listeners instead of the nodes, so a test has a proxy of its own before a
// cluster that many share (works with a FakeCluster too):
//
//   await using proxy = await FaultProxy.start(nodesOf(kafka), { random });
//   await underLoad(kafka, { topic, proxy }, async (hoplog) => {    // or KAFKA_BROKERS: proxy.brokers
//     const fault = proxy.inflict({ kind: 'answer lost' }, { api: 'produce', partition: 0, times: 5 });
//     await fault.strikes(5);          // until it has really happened so often
//     fault.heal();                    // no more of it; faults with `times` heal by themselves
//
//   proxy.inflict({ kind: 'refused', code: 6 }, { api: 'produce', times: 10 })   not forwarded, error code
//   proxy.inflict({ kind: 'answered', code: 7 }, { api: 'produce' })             appended, answer rewritten
//   proxy.inflict({ kind: 'metadata', change: (m) => … }, { api: 'metadata' })   m is changed in place
//   proxy.inflict({ kind: 'garbled', garble: (answer) => bytes }, { api: … })    any bytes for an answer
//   proxy.slow({ delayMs: 100, bytesPerSecond: 375_000 })                        the link, both ways
//   proxy.refuse(nodeId) · proxy.blackHole(nodeId) · proxy.cut(nodeId)           no node id: all of them
//   proxy.move('127.0.0.2') · proxy.swapHosts()                                  nodes at other addresses
//
// All kinds of mischief, with what each does: proxy-passage.ts. `proxy.seen` has every request that came.

import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Api } from './fake-answers.ts';
import { freePort } from './free-port.ts';
import type { KafkaCluster } from './kafka.ts';
import type { Address } from './kafka-node.ts';
import type { Metadata, Seen } from './proxy-frames.ts';
import {
  type Met,
  type Mischief,
  Passage,
  Road,
  type Rules,
  type Slowness,
} from './proxy-passage.ts';
import { waitFor } from './wait-for.ts';

const LOCALHOST = '127.0.0.1';
const STRIKE_MAX_MS = 45_000;

export interface ProxiedNode extends Address {
  readonly id: number;
}

/** Where the proxy finds the nodes of a real cluster. */
export function nodesOf(kafka: KafkaCluster): ProxiedNode[] {
  return kafka.nodes.map(({ id, clientPort }) => ({ id, host: LOCALHOST, port: clientPort }));
}

/** Which requests a fault is for: those for which all that is given holds. */
export interface Where {
  readonly api: Api;
  readonly node?: number;
  /** Of Produce. */
  readonly topic?: string;
  readonly partition?: number;
  /** The first so many; all if not given. */
  readonly times?: number;
  /** Each with this probability, 0 to 1. */
  readonly chance?: number;
}

/** A request that passed, in `proxy.seen`. */
export interface Passed extends Seen {
  readonly node: number;
  /** performance.now() */
  readonly at: number;
}

export interface ProxyOptions {
  /** Of the test's seed: chance and jitter. */
  readonly random?: { next(): number };
  /** What Metadata answers call the hosts; the address listened on if not given. */
  readonly hostName?: string;
  /** Address listened on; 127.0.0.1 if not given. */
  readonly listenOn?: string;
}

/** A fault in force, until `heal`. */
export class Fault {
  /** How often it really happened. */
  hits = 0;
  readonly what: string;
  readonly #onHeal: () => void | Promise<void>;
  #healed = false;

  constructor(what: string, onHeal: () => void | Promise<void>) {
    this.what = what;
    this.#onHeal = onHeal;
  }

  /** Waits until it has happened `hits` times. */
  async strikes(hits = 1): Promise<void> {
    await waitFor(() => this.hits >= hits, {
      timeoutMs: STRIKE_MAX_MS,
      what: `"${this.what}" to happen ${hits} times`,
    });
  }

  async heal(): Promise<void> {
    if (this.#healed) return;
    this.#healed = true;
    await this.#onHeal();
  }
}

interface Rule {
  readonly mischief: Mischief;
  readonly where: Where;
  readonly fault: Fault;
}

interface Gate {
  readonly id: number;
  /** The node itself. */
  target: Address;
  /** Where clients find it. */
  listens: Address;
  server: Server;
  readonly passages: Set<Passage>;
  /** What those meet that connect or are connected. */
  blackHole: Fault | undefined;
}

export class FaultProxy implements AsyncDisposable {
  readonly seen: Passed[] = [];
  readonly faults: Fault[] = [];
  readonly #gates = new Map<number, Gate>();
  readonly #random: () => number;
  readonly #options: ProxyOptions;
  readonly #toBroker: Road;
  readonly #toClient: Road;
  #rules: Rule[] = [];

  static async start(
    nodes: readonly ProxiedNode[],
    options: ProxyOptions = {},
  ): Promise<FaultProxy> {
    const proxy = new FaultProxy(options);
    for (const node of nodes) await proxy.#open(node);
    return proxy;
  }

  private constructor(options: ProxyOptions) {
    this.#options = options;
    this.#random = options.random ? () => options.random!.next() : Math.random;
    this.#toBroker = new Road(this.#random);
    this.#toClient = new Road(this.#random);
  }

  /** host:port list for the program under test. */
  get brokers(): string {
    return this.addresses.map(({ host, port }) => `${host}:${port}`).join();
  }

  /** As clients are told. */
  get addresses(): Address[] {
    return [...this.#gates.values()].map(({ listens }) => this.#told(listens));
  }

  /** How often any fault really happened. */
  get hits(): number {
    return this.faults.reduce((sum, { hits }) => sum + hits, 0);
  }

  get connections(): number {
    return [...this.#gates.values()].reduce((sum, { passages }) => sum + passages.size, 0);
  }

  /** Requests of an API so far. */
  requests(api: Api): Passed[] {
    return this.seen.filter((passed) => passed.api === api);
  }

  /** From now on; of several faults for a request, the one inflicted first is the one that happens. */
  inflict(mischief: Mischief, where: Where): Fault {
    const rule: Rule = {
      mischief,
      where,
      fault: this.#newFault(`${mischief.kind}, ${where.api}`, () => {
        this.#rules = this.#rules.filter((other) => other !== rule);
      }),
    };
    this.#rules.push(rule);
    return rule.fault;
  }

  /** The link to all nodes, both ways; a hit is a frame that was slowed down. */
  slow(slowness: Slowness): Fault {
    const roads = [this.#toBroker, this.#toClient];
    const fault = this.#newFault('slow link', () => {
      for (const road of roads) road.slowness = undefined;
    });
    for (const road of roads) {
      road.slowness = slowness;
      road.onSlow = () => void fault.hits++;
    }
    return fault;
  }

  /** Connections end, new ones are refused; a hit is a connection that ended. */
  async refuse(nodeId?: number): Promise<Fault> {
    const gates = this.#gatesOf(nodeId);
    const fault = this.#newFault('connections refused', async () => {
      for (const gate of gates) await this.#listen(gate);
    });
    for (const gate of gates) {
      const closed = closing(gate.server);
      fault.hits += gate.passages.size;
      cutAll(gate);
      await closed;
    }
    return fault;
  }

  /** As a network that drops every packet: nothing fails, nothing comes; a hit is a connection. */
  blackHole(nodeId?: number): Fault {
    const gates = this.#gatesOf(nodeId);
    const fault = this.#newFault('black hole', () => {
      for (const gate of gates) {
        gate.blackHole = undefined;
        for (const passage of gate.passages) passage.resume();
      }
    });
    for (const gate of gates) {
      gate.blackHole = fault;
      fault.hits += gate.passages.size;
      for (const passage of gate.passages) passage.pause();
    }
    return fault;
  }

  /** Ends the connections there are, once. */
  cut(nodeId?: number): Fault {
    const fault = this.#newFault('connections cut', () => {});
    for (const gate of this.#gatesOf(nodeId)) {
      fault.hits += gate.passages.size;
      cutAll(gate);
    }
    return fault;
  }

  /** All nodes are at another address of this machine from now on, at the ports they had. */
  async move(host: string): Promise<void> {
    const fault = await this.refuse();
    for (const gate of this.#gates.values()) gate.listens = { ...gate.listens, host };
    await fault.heal();
  }

  /**
   * Each node's id and address go to the next one's host: who connects to where node 1 was finds
   * another node, and Metadata says so.
   */
  swapHosts(): Fault {
    const gates = [...this.#gates.values()];
    const listens = gates.map((gate) => gate.listens);
    const servers = gates.map(({ server }) => server);
    const fault = this.cut();
    for (const [index, gate] of gates.entries()) {
      const next = (index + 1) % gates.length;
      gate.listens = listens[next]!;
      gate.server = servers[next]!;
      gate.server.removeAllListeners('connection');
      gate.server.on('connection', (client) => this.#pass(gate, client));
    }
    return fault;
  }

  /** All faults. */
  async heal(): Promise<void> {
    for (const fault of this.faults) await fault.heal();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const gate of this.#gates.values()) {
      const closed = closing(gate.server);
      cutAll(gate);
      await closed;
    }
  }

  async #open({ id, ...target }: ProxiedNode): Promise<void> {
    const listens = { host: this.#options.listenOn ?? LOCALHOST, port: await freePort() };
    const server = createServer();
    const gate: Gate = { id, target, listens, server, passages: new Set(), blackHole: undefined };
    server.on('connection', (client) => this.#pass(gate, client));
    this.#gates.set(id, gate);
    await this.#listen(gate);
  }

  async #listen({ server, listens }: Gate): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject);
    server.listen(listens.port, listens.host, () => resolve());
    await promise;
    server.off('error', reject);
  }

  #pass(gate: Gate, client: Socket): void {
    const broker = connect(gate.target);
    const passage = new Passage(gate.id, client, broker, this.#rulesOfPassages, () => {
      gate.passages.delete(passage);
    });
    gate.passages.add(passage);
    if (!gate.blackHole) return;
    gate.blackHole.hits++;
    passage.pause();
  }

  get #rulesOfPassages(): Rules {
    return {
      meet: (seen, node) => this.#meet(seen, node),
      locate: (metadata) => this.#locate(metadata),
      toBroker: this.#toBroker,
      toClient: this.#toClient,
    };
  }

  #meet(seen: Seen, node: number): Met | undefined {
    this.seen.push({ ...seen, node, at: performance.now() });
    const rule = this.#rules.find(({ where, fault }) => {
      const { times = Infinity, chance = 1 } = where;
      const isMet = fault.hits < times && isFor(where, seen, node);
      return isMet && (chance === 1 || this.#random() < chance);
    });
    if (!rule) return undefined;
    const { mischief, fault, where } = rule;
    return {
      mischief,
      hit: (count = 1) => void (fault.hits += count),
      get isOver() {
        return fault.hits >= (where.times ?? Infinity);
      },
    };
  }

  #locate(metadata: Metadata): void {
    for (const node of metadata.nodes) {
      const gate = this.#gates.get(node.id);
      if (gate) Object.assign(node, this.#told(gate.listens));
    }
  }

  #told({ host, port }: Address): Address {
    return { host: this.#options.hostName ?? host, port };
  }

  #gatesOf(nodeId: number | undefined): Gate[] {
    const gates = [...this.#gates.values()];
    return nodeId === undefined ? gates : gates.filter(({ id }) => id === nodeId);
  }

  #newFault(what: string, onHeal: () => void | Promise<void>): Fault {
    const fault = new Fault(what, onHeal);
    this.faults.push(fault);
    return fault;
  }
}

function isFor({ api, node, topic, partition }: Where, seen: Seen, at: number): boolean {
  return (
    seen.api === api &&
    (node === undefined || node === at) &&
    (topic === undefined || topic === seen.produce?.topic) &&
    (partition === undefined || partition === seen.produce?.partition)
  );
}

function cutAll({ passages }: Gate): void {
  for (const passage of passages) passage.cut();
}

/** Resolves once the server listens no more and its connections have ended. */
function closing(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (server.listening) server.close(() => resolve());
  else resolve();
  return promise;
}
