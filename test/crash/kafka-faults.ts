// What happens to Kafka while hoplog is killed: in most rounds the fault proxy between the two cuts,
// swallows, delays, refuses; in some the node is frozen when hoplog dies, and wakes up in the middle of
// the next life, with requests of the dead in its hands; now and then it is killed and stays away, and
// where there are three, others lead meanwhile.

import type { Api } from '../support/fake-answers.ts';
import { type Fault, FaultProxy, nodesOf } from '../support/fault-proxy.ts';
import type { KafkaNode } from '../support/kafka-node.ts';
import type { KafkaCluster } from '../support/kafka.ts';
import type { Mischief } from '../support/proxy-passage.ts';
import type { Random } from '../support/seed.ts';
import { waitFor } from '../support/wait-for.ts';

/** With the time to the kill below the broker session's 3 s: the node wakes up as if nothing had been. */
const FREEZE_MS_MAX = 800;
/** Rounds with the killed node away; its start takes some rounds more. */
const AWAY_ROUNDS = 2;
const OTHER_APIS: readonly [Api, ...Api[]] = ['describeProducers', 'metadata', 'initProducerId'];
const COORDINATOR_LOAD_IN_PROGRESS = 14;
/**
 * Codes after which Kafka has not appended, and those that leave it open. Not among them: CORRUPT_MESSAGE,
 * after which, the second time, a batch is rightly put aside.
 */
const NOT_APPENDED = [3, 5, 6, 14, 19, 74, 89] as const;
const PERHAPS_APPENDED = [7, 13, 20, 56] as const;

type State = 'there' | 'frozen' | 'away' | 'starting';

export class KafkaFaults implements AsyncDisposable {
  /** How often each fault really happened. */
  readonly hits: Map<string, number>;
  readonly #kafka: KafkaCluster;
  readonly #proxy: FaultProxy;
  readonly #random: Random;
  /** When the node is killed: counted down by rounds. */
  #roundsToKill: number;
  /** The one that is frozen or killed. */
  #node: KafkaNode;
  #roundsAway = 0;
  #state: State = 'there';
  #direct = false;
  #inForce: { name: string; fault: Fault } | undefined;
  #back: Promise<void> = Promise.resolve();

  static async start(
    kafka: KafkaCluster,
    random: Random,
    hits: Map<string, number>,
    rounds: number,
  ): Promise<KafkaFaults> {
    return new KafkaFaults(kafka, await FaultProxy.start(nodesOf(kafka), { random }), random, {
      hits,
      roundsToKill: random.integer(1, rounds >> 1),
    });
  }

  private constructor(
    kafka: KafkaCluster,
    proxy: FaultProxy,
    random: Random,
    { hits, roundsToKill }: { hits: Map<string, number>; roundsToKill: number },
  ) {
    this.#kafka = kafka;
    this.#proxy = proxy;
    this.#random = random;
    this.#node = kafka.nodes[0]!;
    this.hits = hits;
    this.#roundsToKill = roundsToKill;
  }

  /** For the life that begins now. */
  get brokers(): string {
    return this.#direct ? this.#kafka.brokers : this.#proxy.brokers;
  }

  /** The only node of Kafka, or one of three: nobody can tell what it has. */
  get isKafkaAway(): boolean {
    return this.#state !== 'there';
  }

  async beginRound(): Promise<void> {
    this.#roundsToKill--;
    // Only without the proxy do requests of a dead hoplog wait for a frozen node.
    this.#direct = this.#random.next() < 0.2;
    if (this.#state !== 'away') return;
    this.#roundsAway++;
    if (this.#roundsAway <= AWAY_ROUNDS) return;
    this.#state = 'starting';
    this.#back = this.#startNode();
  }

  /** In the middle of a life; resolves with what happens now. It goes on into the next life. */
  async strike(): Promise<string> {
    if (this.#state !== 'there') return `Kafka ${this.#state}`;
    await this.#heal();
    this.#node = this.#kafka.nodes[this.#random.integer(1, this.#kafka.nodes.length) - 1]!;
    if (this.#roundsToKill <= 0) {
      this.#roundsToKill = Infinity;
      return await this.#kill();
    }
    if (this.#direct) return this.#freeze();
    if (this.#random.next() < 0.25) return 'no fault';
    const { name, inflicted } = this.#inflict();
    this.#inForce = { name, fault: await inflicted };
    return name;
  }

  /** All faults but those of the node itself are over. */
  async endRound(): Promise<void> {
    await this.#heal();
    if (this.#state === 'frozen') await this.#back;
  }

  /** All is well again. */
  async end(): Promise<void> {
    await this.#heal();
    if (this.#state === 'away') this.#back = this.#startNode();
    await this.#back;
    this.#direct = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#proxy[Symbol.asyncDispose]();
  }

  async #heal(): Promise<void> {
    if (!this.#inForce) return;
    const { name, fault } = this.#inForce;
    this.#inForce = undefined;
    this.#count(name, fault.hits);
    await fault.heal();
  }

  #count(name: string, hits: number): void {
    this.hits.set(name, (this.hits.get(name) ?? 0) + hits);
  }

  async #startNode(): Promise<void> {
    await this.#node.start();
    this.#state = 'there';
  }

  async #kill(): Promise<string> {
    this.#count('node killed', 1);
    this.#state = 'away';
    this.#roundsAway = 0;
    await this.#node.kill();
    return 'node killed';
  }

  #freeze(): string {
    this.#count('node frozen', 1);
    this.#state = 'frozen';
    this.#node.freeze();
    this.#back = this.#thawLater();
    return 'node frozen';
  }

  async #thawLater(): Promise<void> {
    const frozenAt = performance.now();
    const frozenMs = this.#random.integer(50, FREEZE_MS_MAX);
    await waitFor(() => performance.now() - frozenAt >= frozenMs, {
      timeoutMs: 5 * FREEZE_MS_MAX,
      what: 'the end of the freeze',
    });
    this.#node.thaw();
    this.#state = 'there';
  }

  #inflict(): { name: string; inflicted: Fault | Promise<Fault> } {
    const random = this.#random;
    const proxy = this.#proxy;
    if (random.next() < 0.25) {
      return random.pick([
        () => ({ name: 'link slow', inflicted: proxy.slow({ delayMs: random.integer(1, 60) }) }),
        () => ({ name: 'connections refused', inflicted: proxy.refuse() }),
        () => ({ name: 'black hole', inflicted: proxy.blackHole() }),
        () => ({ name: 'connections cut', inflicted: proxy.cut() }),
      ])();
    }
    const api = random.next() < 0.6 ? 'produce' : random.pick(OTHER_APIS);
    const mischief = random.pick(api === 'produce' ? this.#onProduce() : this.#onAny());
    const where = { api, times: random.integer(1, 12), chance: random.pick([1, 0.5, 0.2]) };
    return { name: `${api}: ${mischief.kind}`, inflicted: proxy.inflict(mischief, where) };
  }

  #onAny(): [Mischief, ...Mischief[]] {
    return [
      { kind: 'cut' },
      { kind: 'half a request' },
      { kind: 'half an answer' },
      { kind: 'answer lost' },
      { kind: 'silence' },
      { kind: 'late', ms: this.#random.integer(5, 200) },
      { kind: 'refused', code: COORDINATOR_LOAD_IN_PROGRESS },
    ];
  }

  #onProduce(): [Mischief, ...Mischief[]] {
    const random = this.#random;
    return [
      ...this.#onAny(),
      { kind: 'answer lost', count: random.integer(2, 5) },
      { kind: 'refused', code: random.pick(NOT_APPENDED) },
      { kind: 'answered', code: random.pick(PERHAPS_APPENDED) },
      { kind: 'throttled', throttleMs: random.integer(20, 300) },
    ];
  }
}
