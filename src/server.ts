// The entry: command line, signals, exit code. What a server is made of is in service.ts.

import pino, { type Logger } from 'pino';
import {
  type Config,
  ConfigError,
  configReference,
  readCommandLine,
  type Seat,
  workersOf,
} from './config.ts';
import { exposition, readMetrics } from './exposition.ts';
import { listenAdmin } from './http/admin.ts';
import { checkHost, ListenerUnusable } from './http/listener.ts';
import { JournalUnusable } from './journal/journal-directory.ts';
import { TopicUnreadable } from './kafka/topic-reader.ts';
import { serverMetrics } from './metrics.ts';
import { RecordKindUnusable } from './record/load-record-kind.ts';
import { describeServer, Service } from './service.ts';
import { doctor } from './tools/doctor.ts';
import { tail } from './tools/tail.ts';
import { verify } from './tools/verify.ts';
import { Supervisor } from './workers/supervisor.ts';
import { work } from './workers/worker.ts';

/** Asked for something that cannot be done as asked; the message says what to change. */
const EXIT_UNUSABLE = 2;

async function main(): Promise<void> {
  const { command, flags, config, seat } = readCommandLine(process.argv.slice(2));
  switch (command) {
    case 'serve':
      return serve(config, seat);
    case 'tail':
      return tail(config, flags.has('follow'));
    case 'verify':
      process.exit(await verify(config, flags.has('json')));
    case 'doctor':
      process.exit(
        await doctor(config, { json: flags.has('json'), probe: !flags.has('no-probe') }),
      );
    case 'help':
      process.stdout.write(`${configReference()}\n`);
  }
}

async function serve(config: Config, seat: Seat | undefined): Promise<void> {
  if (seat) return work(config, seat, createLog({ worker: seat.worker }));
  const log = createLog();
  const workers = workersOf(config);
  if (workers > 1) return Supervisor.start(config, workers, log);
  return serveAlone(config, log);
}

async function serveAlone(config: Config, log: Logger): Promise<void> {
  const { ADMIN_HOST, ADMIN_PORT } = config;
  if (ADMIN_PORT !== 'off') await checkHost('ADMIN_HOST', ADMIN_HOST);
  const service = await Service.open(config, log);
  let { ADMIN_TOKEN } = config;
  const server = serverMetrics({ workers: 1, restarts: 0 });
  const admin =
    ADMIN_PORT === 'off'
      ? undefined
      : listenAdmin({
          hostname: ADMIN_HOST,
          port: ADMIN_PORT,
          token: () => ADMIN_TOKEN,
          troubles: () => service.troubles,
          metrics: () => exposition([service.report(), readMetrics(server)]),
        });
  service.start();
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    // The journal has all that was answered: leaving at once loses nothing.
    if (stopping) process.exit(signal === 'SIGINT' ? 130 : 143);
    stopping = true;
    void service.shutDown().then(() => process.exit(0));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  // Unheard it would end the process.
  process.on('SIGUSR2', () => log.warn('only WORKERS=2 or more are replaced without a pause'));
  process.on('SIGHUP', () => {
    ADMIN_TOKEN = service.reload()?.ADMIN_TOKEN ?? ADMIN_TOKEN;
  });
  // Last: whoever reads this line may send signals from now on.
  log.info({ url: service.url, admin: admin?.url.origin }, describeServer(config, service.url));
}

function createLog(base: Record<string, unknown> | null = null): Logger {
  return pino(
    {
      base,
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
