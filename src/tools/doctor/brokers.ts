// One broker, from its name to its first answer: DNS, TCP, TLS, SASL, over the sockets and connections
// that the producer uses. What cannot be done because an earlier step failed is skipped.

import { lookup } from 'node:dns/promises';
import { isIP, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Config } from '../../config.ts';
import { type BrokerAddress, Cluster } from '../../kafka/cluster.ts';
import type { MetadataAnswer } from '../../kafka/protocol.ts';
import type { Security } from '../../kafka/security.ts';
import { openSocket } from '../../kafka/socket.ts';
import { AuthenticationFailed } from '../../kafka/unreachable.ts';
import { type Complaint, failed, type Finding, ok, skipped, warning } from './finding.ts';

const CONNECT_MAX_MS = 5000;
const DAY_MS = 86_400_000;
/** A certificate that expires sooner should be on somebody's list. */
const RENEW_DAYS = 21;

/** What brokers have said so far. */
export interface Acquaintance {
  /** Those that answered. */
  readonly answering: BrokerAddress[];
  metadata: MetadataAnswer | undefined;
  /** One has refused who we are: each further try would count, and accounts get locked. */
  refused: boolean;
}

type Step = (address: BrokerAddress) => Promise<Finding | undefined>;

export async function* examineBroker(
  address: BrokerAddress,
  config: Config,
  security: Security,
  known: Acquaintance,
): AsyncGenerator<Finding> {
  const at = nameOf(address);
  const login = config.KAFKA_SASL_MECHANISM === 'none' ? 'answers' : 'SASL';
  const steps: [name: string, step: Step][] = [
    [`DNS ${address.host}`, resolve],
    [`TCP ${at}`, reach],
    [`TLS ${at}`, (to) => shakeHands(to, security)],
    [`${login} ${at}`, (to) => ask(to, config, security, known)],
  ];
  let reason: string | undefined;
  for (const [name, step] of steps) {
    if (name.startsWith('DNS') && isIP(address.host) !== 0) continue;
    if (name.startsWith('TLS') && !security.tls) continue;
    if (reason !== undefined) {
      yield skipped(name, reason);
      continue;
    }
    const finding = await step(address);
    if (!finding) continue;
    yield { ...finding, step: name };
    if (finding.state === 'failed') reason = `${name} failed`;
  }
}

export function nameOf({ host, port }: BrokerAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

async function resolve({ host }: BrokerAddress): Promise<Finding> {
  try {
    const addresses = await lookup(host, { all: true });
    return ok('', addresses.map(({ address }) => address).join(', '));
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    return failed('', {
      what: `the name cannot be resolved (${code})`,
      meaning: 'hoplog cannot find this broker',
      advice: 'correct the name in KAFKA_BROKERS, or the DNS of this machine',
    });
  }
}

async function reach({ host, port }: BrokerAddress): Promise<Finding> {
  const since = performance.now();
  try {
    (await connected({ host, port })).destroy();
    return ok('', `open, ${(performance.now() - since).toFixed(1)} ms`);
  } catch (error) {
    return failed('', unreachable(error as NodeJS.ErrnoException));
  }
}

function unreachable({ code, message }: NodeJS.ErrnoException): Complaint {
  if (code === 'ECONNREFUSED') {
    return {
      what: 'refused (ECONNREFUSED)',
      meaning: 'the machine is there, and nothing listens on this port',
      advice: 'start the broker, or correct the port in KAFKA_BROKERS or in its listeners',
    };
  }
  return {
    what: `no connection (${code ?? message})`,
    meaning: 'the machine is down, or something between here and there drops what is sent',
    advice: 'look at routes and firewalls on the way, and whether the broker runs',
  };
}

async function shakeHands(
  { host, port }: BrokerAddress,
  { tls }: Security,
): Promise<Finding | undefined> {
  try {
    const socket = await connected({ host, port, ssl: tls });
    const certificate = (socket as TLSSocket).getPeerCertificate(true);
    socket.destroy();
    return judgeExpiry(new Date(certificate.valid_to), String(certificate.subject.CN), {
      meaning: 'after that hoplog cannot connect to this broker',
      advice: 'renew it on the broker',
    });
  } catch (error) {
    const [what = '', advice = 'correct KAFKA_TLS, KAFKA_TLS_CA, KAFKA_TLS_CERT'] = (
      error as Error
    ).message.split(/: (.*)/);
    const meaning = 'the broker cannot be trusted, or does not trust hoplog: nothing is sent to it';
    return failed('', { what, meaning, advice });
  }
}

/** Of a certificate; complaints where it is soon. */
export function judgeExpiry(
  expires: Date,
  name: string,
  complaint: Omit<Complaint, 'what'>,
): Finding {
  const days = Math.floor((expires.getTime() - Date.now()) / DAY_MS);
  const what = `certificate ${name} expires ${expires.toISOString()}, in ${days} days`;
  if (days < 0) return failed('', { what: what.replace(/, in .*/, ''), ...complaint });
  return days < RENEW_DAYS ? warning('', { what, ...complaint }) : ok('', what);
}

/** The producer's own connection, and its first question. */
async function ask(
  address: BrokerAddress,
  { KAFKA_CLIENT_ID, KAFKA_TOPIC, ...config }: Config,
  security: Security,
  known: Acquaintance,
): Promise<Finding> {
  if (known.refused) return skipped('', 'another broker has refused these credentials');
  const cluster = new Cluster([address], KAFKA_CLIENT_ID, security);
  const since = performance.now();
  try {
    known.metadata = await cluster.metadata(KAFKA_TOPIC);
    known.answering.push(address);
    const { KAFKA_SASL_MECHANISM: mechanism, KAFKA_SASL_USERNAME: user } = config;
    const login = mechanism === 'none' ? '' : `${mechanism}${user && ` as ${user}`}, `;
    return ok('', `${login}${(performance.now() - since).toFixed(1)} ms`);
  } catch (error) {
    const { message } = error as Error;
    const what = message.replace(`${nameOf(address)}: `, '');
    if (!(error instanceof AuthenticationFailed)) {
      const meaning = 'the port is open, and does not speak to hoplog as to a Kafka client';
      return failed('', { what, meaning, advice: adviceIn(message) });
    }
    known.refused = true;
    return failed('', {
      what,
      meaning: 'the broker does not take who hoplog says it is: records stay in the journal',
      advice:
        config.KAFKA_SASL_MECHANISM === 'oauthbearer'
          ? 'correct KAFKA_OAUTH_TOKEN_URL, KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET'
          : 'correct KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD',
    });
  } finally {
    await cluster.close();
  }
}

/** What is missing in what failed. */
function adviceIn(message: string): string {
  const option = /KAFKA_[A-Z_]+[A-Z]/.exec(message)?.[0];
  return option
    ? `set ${option} as this port of the broker wants it`
    : 'is it a Kafka broker? Then compare KAFKA_TLS and KAFKA_SASL_MECHANISM with its listeners';
}

async function connected(target: {
  readonly host: string;
  readonly port: number;
  readonly ssl?: Security['tls'];
}): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = openSocket({ ...target, onConnect: resolve });
  socket.on('error', reject);
  const timer = setTimeout(() => {
    reject(Object.assign(new Error('time-out'), { code: 'ETIMEDOUT' }));
  }, CONNECT_MAX_MS);
  try {
    await promise;
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
