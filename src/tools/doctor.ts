// `doctor`: goes the way of a record step by step, with the server's own settings, sockets and requests,
// and says of each step that it is well or what to do. The steps are in doctor/.

import { X509Certificate } from 'node:crypto';
import type { Config } from '../config.ts';
import { type BrokerAddress, Cluster } from '../kafka/cluster.ts';
import { readSecurity } from '../kafka/security.ts';
import { type PemOption, readCertificates, readPublicKeyPair } from '../pem.ts';
import { loadRecordKind } from '../record/load-record-kind.ts';
import { type Acquaintance, examineBroker, judgeExpiry, nameOf } from './doctor/brokers.ts';
import { failed, type Finding, inWords, skipped, summary } from './doctor/finding.ts';
import { examineJournal } from './doctor/journal.ts';
import { examineTopic, TOPIC_STEPS } from './doctor/topic.ts';

const EXIT_WELL = 0;
const EXIT_NOT_WELL = 1;

export interface DoctorOptions {
  /** One line of JSON in the end, instead of words on the way. */
  readonly json: boolean;
  /** Write a record to the topic. */
  readonly probe: boolean;
}

/** Returns the exit code. @throws {ConfigError} @throws {RecordKindUnusable} */
export async function doctor(config: Config, { json, probe }: DoctorOptions): Promise<number> {
  const findings: Finding[] = [];
  for await (const finding of examine(config, probe)) {
    findings.push(finding);
    if (!json) await Bun.write(Bun.stdout, inWords(finding));
  }
  const well = findings.every(({ state }) => state !== 'failed');
  const report = json ? `${JSON.stringify({ well, findings })}\n` : `\n${summary(findings)}`;
  await Bun.write(Bun.stdout, report);
  return well ? EXIT_WELL : EXIT_NOT_WELL;
}

async function* examine(config: Config, probe: boolean): AsyncGenerator<Finding> {
  // What the server refuses in one line is refused here in the same.
  readPublicKeyPair(config);
  await loadRecordKind(config.RECORD);
  yield* examineOwnCertificates(config);
  if (config.KAFKA_BROKERS.length > 0) yield* examineKafka(config, probe);
  yield* examineJournal(config);
}

function* examineOwnCertificates({ TLS_CERT, KAFKA_TLS_CERT }: Config): Generator<Finding> {
  const options: readonly PemOption[] = [
    { name: 'TLS_CERT', value: TLS_CERT },
    { name: 'KAFKA_TLS_CERT', value: KAFKA_TLS_CERT },
  ];
  for (const option of options.filter(({ value }) => value !== '')) {
    const certificate = new X509Certificate(readCertificates(option));
    const subject = certificate.subject.replace(/[^]*CN=/, '');
    const finding = judgeExpiry(new Date(certificate.validTo), subject, {
      meaning: 'after that whoever is shown it refuses it',
      advice: 'renew it, then SIGHUP (SIGUSR2 for TLS_CERT of several workers)',
    });
    yield { ...finding, step: option.name };
  }
}

async function* examineKafka(config: Config, probe: boolean): AsyncGenerator<Finding> {
  const security = readSecurity(config);
  const known: Acquaintance = { answering: [], metadata: undefined, refused: false };
  const listed = new Set(config.KAFKA_BROKERS.map(nameOf));
  for (const broker of config.KAFKA_BROKERS) yield* examineBroker(broker, config, security, known);
  // What brokers say of themselves is what the producer connects to.
  const advertised: readonly BrokerAddress[] = known.metadata?.nodes ?? [];
  for (const broker of advertised.filter((one) => !listed.has(nameOf(one)))) {
    for await (const finding of examineBroker(broker, config, security, known)) {
      const { step, advice } = finding;
      yield {
        ...finding,
        step: `advertised ${step}`,
        ...(advice && { advice: advice.replace('KAFKA_BROKERS', 'its advertised.listeners') }),
      };
    }
  }
  if (known.answering.length === 0) {
    for (const step of TOPIC_STEPS) yield skipped(step, 'no broker answers');
    return;
  }
  const cluster = new Cluster(known.answering, config.KAFKA_CLIENT_ID, security);
  try {
    yield* examineTopic({ cluster, config, probe });
  } catch (error) {
    yield failed('topic', {
      what: (error as Error).message,
      meaning: 'the brokers answered before, and do not any more',
      advice: 'look whether they run, and try again',
    });
  } finally {
    await cluster.close();
  }
}
