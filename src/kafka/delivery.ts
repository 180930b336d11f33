// All that this process delivers: its own journal, and those under the same JOURNAL_DIR that nobody uses
// any more (left by a worker that died or was replaced, or by a start with other WORKERS). One producer
// each, on the same connections; which process takes an orphan over is decided by the journal's lock.

import { journalDirectories } from '../journal/journal-layout.ts';
import type { Journal } from '../journal/journal.ts';
import { JournalLocked } from '../journal/journal-directory.ts';
import { OrphanedJournal } from '../journal/orphaned-journal.ts';
import type { Hole, Remains } from '../journal/recovery.ts';
import { Histogram } from '../histogram.ts';
import type { Deviations } from './deviations.ts';
import { Producer, type ProducerOptions } from './producer.ts';
import { noCounts, type ProducerCounters } from './producer-counters.ts';
import type { Topic } from './topic.ts';

/** How often it looks for orphans. */
const LOOK_MS = 3000;
const ACKNOWLEDGE_SECONDS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 5, 10, 30, 60, 300, 3600];

export interface DeliveryOptions extends ProducerOptions {
  /** JOURNAL_DIR. */
  readonly root: string;
  readonly syncMs: number;
  readonly onError: (action: string, error: Error) => void;
  /** Of an orphan, as a journal's: journal.ts. */
  readonly onHole: (hole: Hole, directory: string) => void;
  readonly onMachineStopped: (remains: Remains, directory: string) => void;
  readonly onTakenOver: (directory: string, bytes: number) => void;
  readonly onEmptied: (directory: string, records: number) => void;
}

export class Delivery {
  readonly counters: ProducerCounters;
  readonly deviations: Deviations;
  /** From a batch's first record to its acknowledgement. */
  readonly acknowledgeSeconds = new Histogram(ACKNOWLEDGE_SECONDS);
  /** Bytes of orphans that should have been batches and were not readable. */
  lostBytes = 0;
  readonly #topic: Topic;
  readonly #options: DeliveryOptions;
  readonly #own: Producer;
  readonly #orphans = new Map<OrphanedJournal, Producer>();
  /** Why nothing of theirs arrives. */
  readonly #orphanTroubles = new Map<OrphanedJournal, string>();
  /** Directories that were reported as unusable. */
  readonly #unusable = new Set<string>();
  #lookTimer: Timer | undefined;
  #stopped = false;

  constructor(journal: Journal, topic: Topic, options: DeliveryOptions) {
    this.#topic = topic;
    this.#options = options;
    this.deviations = options.deviations;
    this.counters = noCounts(options.deviations);
    this.#own = this.#newProducer(journal, options);
  }

  /** Why nothing arrives, or nothing of an orphan; undefined while the last word from the brokers was good. */
  get trouble(): string | undefined {
    if (this.#own.trouble !== undefined) return this.#own.trouble;
    for (const [{ directory }, trouble] of this.#orphanTroubles) return `${directory}: ${trouble}`;
    return undefined;
  }

  get inFlight(): number {
    return this.#producers.reduce((sum, producer) => sum + producer.inFlight, 0);
  }

  /** Brokers connected. */
  get connections(): number {
    return this.#topic.connections;
  }

  /** Journals that were taken over and are not empty yet. */
  get orphans(): readonly OrphanedJournal[] {
    return [...this.#orphans.keys()];
  }

  /** Connects, for ever if need be. Never rejects. */
  async start(): Promise<void> {
    await this.#own.start();
    this.#look();
  }

  /** The connections are about to be other ones: says soon whether they can be made. */
  refresh(): void {
    this.#own.refresh();
  }

  /** Waits until Kafka has all that was sealed; false when `deadlineMs` (from now) came first. */
  async drain(deadlineMs: number): Promise<boolean> {
    clearTimeout(this.#lookTimer);
    const drained = this.#producers.map((producer) => producer.drain(deadlineMs));
    return (await Promise.all(drained)).every(Boolean);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#lookTimer);
    for (const producer of this.#producers) producer.stop();
    await this.#topic.close();
    await Promise.all(this.orphans.map((journal) => this.#close(journal)));
  }

  get #producers(): Producer[] {
    return [this.#own, ...this.#orphans.values()];
  }

  #newProducer(journal: Journal | OrphanedJournal, options: ProducerOptions): Producer {
    const producer = new Producer(journal, this.#topic, options, this.counters);
    producer.onAcknowledged = (ageMs) => this.acknowledgeSeconds.observe(ageMs / 1000);
    return producer;
  }

  /** While Kafka takes nothing there is no point in it: whoever starts next may go on with a journal. */
  #look(): void {
    if (this.#stopped) return;
    if (this.#own.trouble === undefined) {
      for (const journal of this.#openOrphans()) {
        this.#empty(journal).catch((error: Error) => {
          this.#options.onError(`take over ${journal.directory}`, error);
        });
      }
    }
    this.#lookTimer = setTimeout(() => this.#look(), LOOK_MS);
  }

  #openOrphans(): OrphanedJournal[] {
    return this.#directories().flatMap((directory) => {
      try {
        return this.#openOrphan(directory);
      } catch (error) {
        if (!(error instanceof JournalLocked)) this.#reportUnusable(directory, error as Error);
        return [];
      }
    });
  }

  #openOrphan(directory: string): OrphanedJournal {
    const { syncMs, onError, onHole, onMachineStopped } = this.#options;
    return new OrphanedJournal({
      directory,
      syncMs,
      onError,
      onHole: (hole) => {
        this.lostBytes += hole.bytes;
        onHole(hole, directory);
      },
      onMachineStopped: (remains) => onMachineStopped(remains, directory),
    });
  }

  #directories(): string[] {
    const { root } = this.#options;
    try {
      return journalDirectories(root);
    } catch (error) {
      this.#reportUnusable(root, error as Error);
      return [];
    }
  }

  /** Once: it is looked at again and again. */
  #reportUnusable(directory: string, error: Error): void {
    if (this.#unusable.has(directory)) return;
    this.#unusable.add(directory);
    this.#options.onError(`take over ${directory}`, error);
  }

  async #empty(journal: OrphanedJournal): Promise<void> {
    const { onTakenOver, onEmptied } = this.#options;
    const { directory, backlogBytes } = journal;
    if (backlogBytes === 0) return journal.close();
    onTakenOver(directory, backlogBytes);
    // Mostly what keeps its batches from Kafka keeps the own ones too, and has its line in the log.
    const onChange = (trouble: string | undefined): void => this.#noteTrouble(journal, trouble);
    const producer = this.#newProducer(journal, { ...this.#options, onChange });
    this.#orphans.set(journal, producer);
    void producer.start();
    await producer.whenIdle();
    producer.stop();
    await this.#close(journal);
    onEmptied(directory, journal.acknowledgedRecords);
  }

  #noteTrouble(journal: OrphanedJournal, trouble: string | undefined): void {
    if (trouble === undefined) this.#orphanTroubles.delete(journal);
    else this.#orphanTroubles.set(journal, trouble);
  }

  async #close(journal: OrphanedJournal): Promise<void> {
    this.#orphanTroubles.delete(journal);
    if (!this.#orphans.delete(journal)) return;
    await journal.close();
  }
}
