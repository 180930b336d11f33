// `doctor` on a real Kafka with TLS, SASL and access lists: where all is granted all is well; each thing
// that is not shows as exactly its step failing, with what to do; and no secret is in what it prints.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { describeKafka } from '../support/describe-kafka.ts';
import {
  diagnose as run,
  type Diagnosis,
  expectFailure,
  findingOf,
  stepsThat,
} from '../support/doctor.ts';
import {
  type Login,
  SECRETS,
  type SecuredKafka,
  startSecuredKafka,
  USERS,
} from '../support/secured-kafka.ts';
import { type Options, runHoplog } from '../support/server.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;

const SUE = {
  mechanism: 'scram-sha-512',
  username: USERS.scram512,
  password: SECRETS.scram512,
} as const satisfies Login;

describeKafka('doctor', () => {
  let secured: SecuredKafka;
  const said: string[] = [];

  beforeAll(async () => {
    secured = await startSecuredKafka();
    await Promise.all(['log', 'read-only', 'write-only'].map((name) => create(name)));
    await secured.grant(SUE.username, 'log', 'WRITE', 'READ');
    await secured.grant(SUE.username, 'read-only', 'READ');
    await secured.grant(SUE.username, 'write-only', 'WRITE');
  }, START_MAX_MS);

  afterAll(async () => {
    await secured?.[Symbol.asyncDispose]();
  });

  async function create(name: string, configs: Record<string, string | number> = {}) {
    await secured.kafka.createTopic({ name, partitions: 2, configs });
  }

  async function diagnose(options: Options): Promise<Diagnosis> {
    const journal = { JOURNAL_DIR: secured.dir, JOURNAL_BYTES: '16MiB' };
    const diagnosis = await run({ KAFKA_TOPIC: 'log', ...journal, ...options });
    said.push(diagnosis.output);
    return diagnosis;
  }

  test(
    'all is granted: TLS, SASL, READ and a probe; settings are skipped without DESCRIBE_CONFIGS',
    async () => {
      const diagnosis = await diagnose(secured.options('SASLTLS', SUE));
      expect(findingOf(diagnosis, 'probe record').what).toEndWith(', and read back');
      expect(stepsThat(diagnosis, 'failed')).toEqual([]);
      const broker = secured.kafka.listener('SASLTLS');
      expect(findingOf(diagnosis, `TLS ${broker}`).what).toStartWith('certificate broker expires ');
      expect(findingOf(diagnosis, `SASL ${broker}`).what).toStartWith('scram-sha-512 as sue, ');
      expect(findingOf(diagnosis, 'READ').state).toBe('ok');
      expect(findingOf(diagnosis, 'probe record').what).toEndWith(', and read back');
      expect(stepsThat(diagnosis, 'skipped')).toEqual(['topic settings', 'broker settings']);
      const values = (await secured.kafka.readTopic('log')).map(({ value }) => value.toString());
      expect(values).toHaveLength(1);
      expect(values[0]).toMatch(/^\{"hoplog_probe":"[^"]+"\}$/);
    },
    TEST_MAX_MS,
  );

  test(
    'settings of topic and broker, seen by who may',
    async () => {
      const diagnosis = await diagnose(secured.options('TLS'));
      expect(stepsThat(diagnosis, 'failed')).toEqual([]);
      expect(stepsThat(diagnosis, 'skipped')).toEqual([]);
      const whats = [
        'max.message.bytes',
        'producer.id.expiration.ms',
        'socket.request.max.bytes',
      ].map((step) => findingOf(diagnosis, step).what);
      expect(whats).toEqual(['1048588, BATCH_BYTES=1000000', '86400000', '104857600']);
      expect(findingOf(diagnosis, 'min.insync.replicas').state).toBe('warning');
    },
    TEST_MAX_MS,
  );

  test(
    'a wrong password',
    async () => {
      const options = secured.options('SASL', { ...SUE, password: SECRETS.wrong });
      const step = `SASL ${secured.kafka.listener('SASL')}`;
      expectFailure(await diagnose(options), step, 'authentication failed', 'KAFKA_SASL_PASSWORD');
    },
    TEST_MAX_MS,
  );

  test(
    'a wrong password is tried on one broker of several only',
    async () => {
      const [plain, tls] = [secured.kafka.listener('SASL'), secured.kafka.listener('SHORT')];
      const options = secured.options('SASL', { ...SUE, password: SECRETS.wrong });
      const diagnosis = await diagnose({ ...options, KAFKA_BROKERS: `${plain},${tls}` });
      expect(stepsThat(diagnosis, 'failed')).toEqual([`SASL ${plain}`]);
      expect(findingOf(diagnosis, `SASL ${tls}`).state).toBe('skipped');
    },
    TEST_MAX_MS,
  );

  test(
    'certificates: expired, for another host, of an unknown authority; none of our own where one is wanted',
    async () => {
      const at = (listener: string) => `TLS ${secured.kafka.listener(listener)}`;
      const expired = await diagnose(secured.options('EXPIRED'));
      expectFailure(expired, at('EXPIRED'), 'certificate has expired', 'renew it on the broker');
      const elsewhere = await diagnose(secured.options('ELSEWHERE'));
      expectFailure(elsewhere, at('ELSEWHERE'), 'for another host name', 'KAFKA_BROKERS');
      const { KAFKA_TLS_CA: _, ...unknown } = secured.options('TLS');
      expectFailure(await diagnose(unknown), at('TLS'), 'unknown authority', 'KAFKA_TLS_CA');
      const mutual = await diagnose(secured.options('MUTUAL'));
      const [failure = ''] = stepsThat(mutual, 'failed');
      expectFailure(mutual, failure, 'wants a client certificate', 'KAFKA_TLS_CERT');
      const { cert, key } = secured.client;
      const options = { ...secured.options('MUTUAL'), KAFKA_TLS_CERT: cert, KAFKA_TLS_KEY: key };
      // Who it is then may do nothing yet.
      expectFailure(await diagnose(options), 'topic', 'TOPIC_AUTHORIZATION_FAILED', 'grant');
    },
    TEST_MAX_MS,
  );

  test(
    'access: no topic, no right to WRITE, no right to READ',
    async () => {
      const open = secured.options('TLS');
      const missing = await diagnose({ ...open, KAFKA_TOPIC: 'nowhere' });
      expectFailure(missing, 'topic', 'UNKNOWN_TOPIC_OR_PARTITION', 'create topic nowhere');
      const options = secured.options('SASL', SUE);
      const unseen = await diagnose({ ...options, KAFKA_TOPIC: 'nowhere' });
      expectFailure(unseen, 'topic', 'TOPIC_AUTHORIZATION_FAILED', 'grant WRITE and READ');
      const mayNotWrite = await diagnose({ ...options, KAFKA_TOPIC: 'read-only' });
      expectFailure(mayNotWrite, 'probe record', 'AUTHORIZATION_FAILED', 'grant WRITE');
      const mayNotRead = await diagnose({ ...options, KAFKA_TOPIC: 'write-only' });
      expectFailure(mayNotRead, 'READ', 'TOPIC_AUTHORIZATION_FAILED', 'grant READ');
    },
    TEST_MAX_MS,
  );

  test(
    'settings that do not go with hoplog’s',
    async () => {
      const open = secured.options('TLS');
      await create('small', { 'max.message.bytes': 100_000 });
      const small = await diagnose({ ...open, KAFKA_TOPIC: 'small' });
      expectFailure(small, 'max.message.bytes', '100000', 'set BATCH_BYTES to 100000 or less');
      await create('careful', { 'min.insync.replicas': 2 });
      const careful = await diagnose({ ...open, KAFKA_TOPIC: 'careful' });
      expectFailure(careful, 'min.insync.replicas', '2 of 1 replicas', '2 replicas');
      await create('compacted', { 'cleanup.policy': 'compact' });
      const compacted = await diagnose({ ...open, KAFKA_TOPIC: 'compacted' });
      expectFailure(compacted, 'cleanup.policy', 'compact', 'another KAFKA_TOPIC');
      expect(findingOf(compacted, 'probe record').state).toBe('skipped');
    },
    TEST_MAX_MS,
  );

  test('no secret is in anything it printed', async () => {
    const { stdout, stderr } = await runHoplog(['doctor'], {
      ...secured.options('SASL', { ...SUE, password: SECRETS.wrong }),
      JOURNAL_DIR: secured.dir,
    });
    const all = [...said, stdout, stderr].join('\n');
    expect(said.length).toBeGreaterThan(10);
    for (const secret of Object.values(SECRETS)) expect(all).not.toContain(secret);
  });
});
