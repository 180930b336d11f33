// One server, wired. Reads like the drawing in src/README.md:
//   request ─ http/ ─ record/ ─▶ journal/ ─▶ kafka/ ─▶ broker

import { join } from 'node:path';
import type { Logger } from 'pino';
import { type Config, ConfigError, flagOf, readCommandLine, type Seat } from './config.ts';
import { checkHost, claimPort, Listener } from './http/listener.ts';
import { defaultRedirect } from './http/redirect.ts';
import { Journal } from './journal/journal.ts';
import { JournalUnusable } from './journal/journal-directory.ts';
import { openWorkerJournal } from './journal/journal-layout.ts';
import { claimServer } from './journal/journal-lock.ts';
import type { Hole, Remains } from './journal/recovery.ts';
import { Cluster } from './kafka/cluster.ts';
import { Delivery } from './kafka/delivery.ts';
import { type DeviationReport, Deviations } from './kafka/deviations.ts';
import { Quarantine } from './kafka/quarantine.ts';
import { readSecurity } from './kafka/security.ts';
import { Topic } from './kafka/topic.ts';
import { EventLoopDelay } from './event-loop.ts';
import { type Family, type MetricsReport, readMetrics } from './exposition.ts';
import { processMetrics } from './metrics.ts';
import { type KeyPair, readPublicKeyPair } from './pem.ts';
import { Batcher } from './record/batcher.ts';
import { idOf, reportDamage, reportGap } from './record/damage.ts';
import { encoderFor } from './record/encode.ts';
import { knownRanges } from './record/known-ranges.ts';
import { loadRecordKind } from './record/load-record-kind.ts';
import type { RecordKind } from './record/record-kind.ts';
import { BATCH_HEADER_BYTES, readRecords } from './record-batch.ts';
import packageJson from '../package.json';

/** Of JOURNAL_BYTES, and besides it, for batches that no broker takes. */
const QUARANTINE_SHARE = 1 / 16;
/** What /ready says from the first signal on. */
export const SHUTTING_DOWN = 'shutting down';

export class Service {
  readonly #config: Config;
  readonly #seat: Seat | undefined;
  readonly #log: Logger;
  /** Of JOURNAL_DIR; a worker's supervisor has it. */
  readonly #claim: Disposable | undefined;
  readonly #journal: Journal;
  readonly #batcher: Batcher;
  /** Undefined in local mode, as is the delivery. */
  readonly #cluster: Cluster | undefined;
  readonly #delivery: Delivery | undefined;
  readonly #listener: Listener;
  /** Measured where somebody can ask for it. */
  readonly #eventLoop: EventLoopDelay | undefined;
  readonly #metrics: readonly Family[];
  #stopping = false;

  /**
   * Answers requests from now on: alone, or as one of several workers.
   * @throws what is unusable, in one line
   */
  static async open(config: Config, log: Logger, seat?: Seat): Promise<Service> {
    const kind = await loadRecordKind(config.RECORD);
    await checkHost('HOST', config.HOST);
    if (seat || !canRenewCertificate(config)) return new Service(config, log, kind, seat);
    // Shared with nobody but the server that will show the next certificate.
    const PORT = await claimPort(config.HOST, config.PORT);
    return new Service({ ...config, PORT }, log, kind);
  }

  private constructor(config: Config, log: Logger, kind: RecordKind<unknown>, seat?: Seat) {
    this.#config = config;
    this.#seat = seat;
    this.#log = log;
    this.#claim = seat ? undefined : claimServer(config.JOURNAL_DIR);
    this.#cluster = config.KAFKA_BROKERS.length > 0 ? Cluster.of(config) : undefined;
    this.#journal = this.#openJournal();
    if (this.#journal.isVolatile) {
      log.warn(
        { directory: config.JOURNAL_DIR },
        'the journal is on a tmpfs: a power cut takes all that Kafka has not confirmed',
      );
    }
    this.#batcher = new Batcher(this.#journal, {
      kind,
      encode: encoderFor(kind, config.FORMAT),
      flushIntervalMs: config.FLUSH_INTERVAL_MS,
      onLost: (range) => log.error(range, 'records lost'),
    });
    this.#delivery = this.#cluster && this.#createDelivery(this.#cluster);
    this.#listener = new Listener(
      {
        hostname: config.HOST,
        port: seat?.port ?? config.PORT,
        sharedPort: seat !== undefined || canRenewCertificate(config),
        tls: readPublicKeyPair(config),
        redirect: defaultRedirect(config.REDIRECT_TO, config.REDIRECT_STATUS),
        refuseWhenFull: config.JOURNAL_FULL === 'refuse',
      },
      this.#batcher,
      this.#journal,
    );
    this.#eventLoop = config.ADMIN_PORT === 'off' ? undefined : new EventLoopDelay();
    this.#metrics = processMetrics({
      listener: this.#listener,
      batcher: this.#batcher,
      journal: this.#journal,
      delivery: this.#delivery,
      eventLoop: this.#eventLoop,
    });
  }

  get url(): string {
    return this.#listener.url;
  }

  /** Why it is not ready; none = it is. */
  get troubles(): string[] {
    const { JOURNAL_FULL } = this.#config;
    const refuses = JOURNAL_FULL === 'refuse' && this.#journal.full;
    return [
      this.#stopping && SHUTTING_DOWN,
      refuses && 'the journal is full: requests are refused',
      this.#delivery?.trouble,
    ].filter((trouble) => typeof trouble === 'string');
  }

  report(): MetricsReport {
    return readMetrics(this.#metrics);
  }

  /** Begins to deliver. */
  start(): void {
    void this.#delivery?.start();
  }

  /** Gets all new connections of the shared port, or its share: see `ListeningSocket`. */
  takeAll(all: boolean): void {
    const { socket } = this.#listener;
    if (all) socket.takeAll();
    else socket.share();
  }

  /** Leaves the shared port to the others, without a client noticing. */
  async leave(): Promise<void> {
    this.#stopping = true;
    await this.#listener.leave();
  }

  /** Having left: waits until its clients have gone, SHUTDOWN_MS at most. */
  linger(): Promise<void> {
    return this.#listener.linger(this.#config.SHUTDOWN_MS);
  }

  /**
   * Secrets, certificates and keys are read again. What cannot be used leaves all as it was.
   * @returns what was read
   */
  reload(): Config | undefined {
    if (this.#stopping) return undefined;
    try {
      const { config } = readCommandLine(process.argv.slice(2));
      const security = readSecurity(config);
      const keyPair = readPublicKeyPair(config);
      this.#cluster?.secure(security);
      this.#delivery?.refresh();
      this.#log.info('SIGHUP: secrets and certificates are read again');
      if (keyPair && !this.#listener.shows(keyPair)) void this.#renewCertificate(keyPair);
      return config;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.#log.error({ reason: error.message }, 'SIGHUP: nothing is changed');
      return undefined;
    }
  }

  async #renewCertificate(keyPair: KeyPair): Promise<void> {
    const log = this.#log;
    if (this.#seat || !canRenewCertificate(this.#config)) {
      const what = this.#seat ? 'SIGUSR2' : 'a restart';
      log.warn(`TLS_CERT: new connections are shown the former certificate until ${what}`);
      return;
    }
    try {
      await this.#listener.renew(keyPair);
      log.info('TLS_CERT: new connections are shown the new certificate');
    } catch (error) {
      const reason = (error as Error).message;
      log.error({ reason }, 'TLS_CERT: new connections are shown the former certificate');
    }
  }

  /**
   * Not ready for DRAIN_DELAY_MS, so that load balancers send no more; then refuse, drain, flush, sync.
   * Whatever Kafka has not confirmed SHUTDOWN_MS later stays journalled.
   */
  async shutDown(): Promise<void> {
    const hasLeft = this.#stopping;
    this.#stopping = true;
    if (!hasLeft) await Bun.sleep(this.#config.DRAIN_DELAY_MS);
    const deadline = performance.now() + this.#config.SHUTDOWN_MS;
    const left = (): number => Math.max(0, deadline - performance.now());
    await Promise.race([this.#listener.drain(), Bun.sleep(left())]);
    this.#batcher.flush();
    await this.#delivery?.drain(left());
    const kept = this.#delivery ? this.#journal.backlogBytes : 0;
    // A disk that hangs must not hold the process: the page cache keeps what was written.
    await Promise.race([this.#delivery?.stop(), Bun.sleep(left())]);
    await Promise.race([this.#journal.close(), Bun.sleep(left() + 100)]);
    this.#claim?.[Symbol.dispose]();
    this.#eventLoop?.[Symbol.dispose]();
    if (kept === 0) this.#log.info('stopped');
    else this.#log.warn({ bytes: kept }, 'stopped; the journal keeps what Kafka has not confirmed');
  }

  #openJournal(): Journal {
    const seat = this.#seat;
    const { JOURNAL_DIR, JOURNAL_BYTES } = this.#config;
    if (!seat) return this.#openJournalAt(JOURNAL_DIR, JOURNAL_BYTES);
    const share = Math.floor(JOURNAL_BYTES / seat.workers);
    try {
      return openWorkerJournal(JOURNAL_DIR, seat, (at) => this.#openJournalAt(at, share));
    } catch (error) {
      if (!(error instanceof JournalUnusable)) throw error;
      throw new JournalUnusable(
        `${error.message}. ${seat.workers} workers share JOURNAL_BYTES=${JOURNAL_BYTES}`,
      );
    }
  }

  #openJournalAt(directory: string, journalBytes: number): Journal {
    const { JOURNAL_SYNC_MS, BATCH_BYTES, KAFKA_BROKERS } = this.#config;
    return new Journal({
      directory,
      journalBytes,
      batchBytes: BATCH_BYTES,
      syncMs: JOURNAL_SYNC_MS,
      recycleOldest: KAFKA_BROKERS.length === 0,
      onError: this.#onJournalError,
      onHole: (hole) => this.#onHole(hole, directory),
      onMachineStopped: (remains) => this.#onMachineStopped(remains, directory),
    });
  }

  #createDelivery(cluster: Cluster): Delivery {
    const { KAFKA_TOPIC, KAFKA_ACKS, ...config } = this.#config;
    const log = this.#log;
    const onWarning = (message: string): void => log.warn(message);
    const topic = new Topic(cluster, { name: KAFKA_TOPIC, acks: KAFKA_ACKS, onWarning });
    return new Delivery(this.#journal, topic, {
      root: config.JOURNAL_DIR,
      syncMs: config.JOURNAL_SYNC_MS,
      compression: config.KAFKA_COMPRESSION,
      quarantine: new Quarantine(
        join(config.JOURNAL_DIR, 'quarantine'),
        config.JOURNAL_BYTES * QUARANTINE_SHARE,
      ),
      deviations: new Deviations((report) => logDeviation(log, report)),
      onWarning,
      onError: this.#onJournalError,
      onHole: this.#onHole,
      onMachineStopped: this.#onMachineStopped,
      onTakenOver: (journal, bytes) =>
        log.info({ journal, bytes }, 'took over a journal that nobody uses'),
      onEmptied: (journal, records) => log.info({ journal, records }, 'delivered what was in it'),
      onChange: (reason) => {
        if (reason === undefined) log.info('Kafka takes records');
        else log.warn({ reason }, 'Kafka takes no records: the journal keeps them and retries');
      },
    });
  }

  readonly #onJournalError = (action: string, error: Error): void => {
    this.#log.error({ reason: error.message }, `journal: ${action} failed`);
  };

  readonly #onHole = (hole: Hole, journal: string): void => {
    const report = reportDamage(hole);
    if (hole.bytes === 0 && !report.count) return;
    this.#log.error({ ...report, journal }, 'records lost');
  };

  /** What the journal has it has; behind that, nobody knows what there was. */
  readonly #onMachineStopped = ({ oldest, newest, gaps }: Remains, journal: string): void => {
    this.#log.warn(
      { inFrontOf: oldest && idOf(oldest), behind: newest && idOf(newest), journal },
      'the machine went down under the last hoplog: records behind this one may be lost, ' +
        `those of its last ${this.#config.JOURNAL_SYNC_MS} ms and of the fdatasync then running, ` +
        'and of those in front of the oldest that is left what Kafka has not got',
    );
    for (const gap of gaps) {
      const report = reportGap(gap);
      if (report) this.#log.warn({ ...report, journal }, 'records lost, unless Kafka has them');
    }
  };
}

/** Of one process: several are replaced (SIGUSR2). */
function canRenewCertificate({ TLS_CERT }: Config): boolean {
  return TLS_CERT !== '' && process.platform === 'linux';
}

/** Which records, in the words of the batcher's lost ranges. */
function logDeviation(log: Logger, { deviation, cause, batch, detail }: DeviationReport): void {
  const level = deviation === 'lost' || deviation === 'put aside' ? 'error' : 'warn';
  const records = [...readRecords(batch, BATCH_HEADER_BYTES, batch.length)];
  for (const range of knownRanges(records.map(({ value }) => value))) {
    log[level]({ cause, ...range, detail }, `records ${deviation}`);
  }
}

/** One line on what a server does. */
export function describeServer(config: Config, url: string): string {
  const { REDIRECT_TO, REDIRECT_STATUS, RECORD, FORMAT } = config;
  return (
    `hoplog ${packageJson.version} answers ${url} with ${REDIRECT_STATUS} to ${REDIRECT_TO}; ` +
    `${RECORD} records (${FORMAT}) ${describeDestination(config)}`
  );
}

function describeDestination(config: Config): string {
  const { JOURNAL_DIR, KAFKA_BROKERS, KAFKA_TOPIC, KAFKA_ACKS } = config;
  if (KAFKA_BROKERS.length === 0) {
    return `stay in ${JOURNAL_DIR} (no ${flagOf('KAFKA_BROKERS')}; read them with the command tail)`;
  }
  const brokers = KAFKA_BROKERS.map(({ host, port }) => `${host}:${port}`).join(',');
  const cautions = [
    KAFKA_ACKS === '1' && '; acks=1: records may arrive twice, or be lost with a broker',
    showsSecrets(config) && '; KAFKA_TLS is off: the network sees what hoplog logs in with',
  ];
  return `go to Kafka topic ${KAFKA_TOPIC} at ${brokers} by way of ${JOURNAL_DIR}${cautions.filter(Boolean).join('')}`;
}

/** SCRAM proves that it knows the password; these two say it. */
function showsSecrets({ KAFKA_TLS, KAFKA_SASL_MECHANISM: mechanism }: Config): boolean {
  return KAFKA_TLS === 'off' && (mechanism === 'plain' || mechanism === 'oauthbearer');
}
