// The entry: command line, wiring, signals, exit code. Reads like the drawing in src/README.md:
//   request ─ http/ ─ record/ ─▶ journal/ ─▶ kafka/ ─▶ broker

import pino, { type Logger } from 'pino';
import { type Config, ConfigError, configReference, flagOf, readCommandLine } from './config.ts';
import { listenAdmin } from './http/admin.ts';
import { checkHost, Listener, ListenerUnusable } from './http/listener.ts';
import { defaultRedirect } from './http/redirect.ts';
import { Journal } from './journal/journal.ts';
import { JournalUnusable } from './journal/journal-directory.ts';
import { Cluster } from './kafka/cluster.ts';
import { Producer } from './kafka/producer.ts';
import { Topic } from './kafka/topic.ts';
import { TopicUnreadable } from './kafka/topic-reader.ts';
import { Metrics, metricSource } from './metrics.ts';
import { Batcher } from './record/batcher.ts';
import { encoderFor } from './record/encode.ts';
import { loadRecordKind, RecordKindUnusable } from './record/load-record-kind.ts';
import { tail } from './tools/tail.ts';
import { verify } from './tools/verify.ts';
import packageJson from '../package.json';

/** Asked for something that cannot be done as asked; the message says what to change. */
const EXIT_UNUSABLE = 2;

async function main(): Promise<void> {
  const { command, flags, config } = readCommandLine(process.argv.slice(2));
  switch (command) {
    case 'serve':
      return serve(config);
    case 'tail':
      return tail(config, flags.has('follow'));
    case 'verify':
      process.exit(await verify(config, flags.has('json')));
    case 'help':
      process.stdout.write(`${configReference()}\n`);
  }
}

async function serve(config: Config): Promise<void> {
  const log = createLog();
  const kind = await loadRecordKind(config.RECORD);
  await checkHost('HOST', config.HOST);
  if (config.ADMIN_PORT !== 'off') await checkHost('ADMIN_HOST', config.ADMIN_HOST);
  const journal = new Journal({
    directory: config.JOURNAL_DIR,
    journalBytes: config.JOURNAL_BYTES,
    batchBytes: config.BATCH_BYTES,
    syncMs: config.JOURNAL_SYNC_MS,
    recycleOldest: config.KAFKA_BROKERS.length === 0,
    onError: (action, error) => log.error({ reason: error.message }, `journal: ${action} failed`),
  });
  if (journal.isVolatile) {
    log.warn(
      { directory: config.JOURNAL_DIR },
      'the journal is on a tmpfs: a power cut takes all that Kafka has not confirmed',
    );
  }
  const batcher = new Batcher(journal, {
    kind,
    encode: encoderFor(kind, config.FORMAT),
    flushIntervalMs: config.FLUSH_INTERVAL_MS,
    onLost: (range) => log.error(range, 'records lost'),
  });
  const producer =
    config.KAFKA_BROKERS.length > 0 ? createProducer(config, journal, log) : undefined;
  const listener = new Listener(
    {
      hostname: config.HOST,
      port: config.PORT,
      redirect: defaultRedirect(config.REDIRECT_TO, config.REDIRECT_STATUS),
      refuseWhenFull: config.JOURNAL_FULL === 'refuse',
    },
    batcher,
    journal,
  );
  const metrics = new Metrics(metricSource({ listener, batcher, journal, producer }));
  let stopping = false;
  const trouble = (): string | undefined => (stopping ? 'shutting down' : producer?.trouble);
  const admin =
    config.ADMIN_PORT === 'off'
      ? undefined
      : listenAdmin({
          hostname: config.ADMIN_HOST,
          port: config.ADMIN_PORT,
          trouble,
          metrics: () => metrics.exposition(),
        });
  if (producer) {
    producer.onAcknowledged = (ageMs) => metrics.observeAcknowledged(ageMs);
    void producer.start();
  }
  const stop = (signal: NodeJS.Signals): void => {
    // The journal has all that was answered: leaving at once loses nothing.
    if (stopping) process.exit(signal === 'SIGINT' ? 130 : 143);
    stopping = true;
    void shutDown(config.SHUTDOWN_MS, { listener, batcher, producer, journal, log });
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  // Last: whoever reads this line may send signals from now on.
  log.info({ url: listener.url, admin: admin?.url.origin }, describeStart(config, listener.url));
}

function createProducer(config: Config, journal: Journal, log: Logger): Producer {
  const onWarning = (message: string): void => log.warn(message);
  const cluster = new Cluster(config.KAFKA_BROKERS, config.KAFKA_CLIENT_ID);
  const { KAFKA_TOPIC: name, KAFKA_ACKS: acks, KAFKA_COMPRESSION: compression } = config;
  return new Producer(journal, new Topic(cluster, { name, acks, onWarning }), {
    compression,
    onWarning,
    onChange: (reason) => {
      if (reason === undefined) log.info('Kafka takes records');
      else log.warn({ reason }, 'Kafka takes no records: the journal keeps them and retries');
    },
  });
}

interface Running {
  readonly listener: Listener;
  readonly batcher: Batcher;
  readonly producer: Producer | undefined;
  readonly journal: Journal;
  readonly log: Logger;
}

/** Refuse, drain, flush, sync; whatever Kafka has not confirmed by the deadline stays journalled. */
async function shutDown(deadlineMs: number, running: Running): Promise<void> {
  const { listener, batcher, producer, journal, log } = running;
  const deadline = performance.now() + deadlineMs;
  const left = (): number => Math.max(0, deadline - performance.now());
  await Promise.race([listener.drain(), Bun.sleep(left())]);
  batcher.flush();
  await producer?.drain(left());
  const kept = producer ? journal.backlogBytes : 0;
  // A disk that hangs must not hold the process: the page cache keeps what was written.
  await Promise.race([producer?.stop(), Bun.sleep(left())]);
  await Promise.race([journal.close(), Bun.sleep(left() + 100)]);
  if (kept > 0)
    log.warn({ bytes: kept }, 'stopped; the journal keeps what Kafka has not confirmed');
  else log.info('stopped');
  process.exit(0);
}

function describeStart(config: Config, url: string): string {
  const { REDIRECT_TO, REDIRECT_STATUS, RECORD, FORMAT, JOURNAL_DIR, KAFKA_TOPIC } = config;
  const brokers = config.KAFKA_BROKERS.map(({ host, port }) => `${host}:${port}`).join(',');
  const destination =
    brokers === ''
      ? `stay in ${JOURNAL_DIR} (no ${flagOf('KAFKA_BROKERS')}; read them with the command tail)`
      : `go to Kafka topic ${KAFKA_TOPIC} at ${brokers} by way of ${JOURNAL_DIR}`;
  const caution =
    config.KAFKA_ACKS === '1' ? '; acks=1: records may arrive twice, or be lost with a broker' : '';
  return (
    `hoplog ${packageJson.version} answers ${url} with ${REDIRECT_STATUS} to ${REDIRECT_TO}; ` +
    `${RECORD} records (${FORMAT}) ${destination}${caution}`
  );
}

function createLog(): Logger {
  return pino(
    {
      base: null,
      formatters: { level: (label) => ({ level: label }) },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    pino.destination({ dest: 2, sync: true }),
  );
}

function isUnusable(error: unknown): error is Error {
  const kinds = [
    ConfigError,
    JournalUnusable,
    ListenerUnusable,
    RecordKindUnusable,
    TopicUnreadable,
  ];
  return kinds.some((kind) => error instanceof kind);
}

try {
  await main();
} catch (error) {
  if (!isUnusable(error)) throw error;
  process.stderr.write(`hoplog: ${error.message}\n`);
  process.exit(EXIT_UNUSABLE);
}
