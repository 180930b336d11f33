// Secured listeners of a real Kafka: each way to prove who hoplog is works, each way to fail says so in
// words, and failing again and again costs no descriptors, listeners or timers. The commands that read
// the topic prove it the same way.

import { afterAll, beforeAll, describe, expect, spyOn, test } from 'bun:test';
import { type Config, readCommandLine } from '../../src/config.ts';
import { Cluster } from '../../src/kafka/cluster.ts';
import { AuthenticationFailed, BrokerUnreachable } from '../../src/kafka/unreachable.ts';
import { initProducerIdRequest } from '../../src/kafka/protocol.ts';
import { readSecurity } from '../../src/kafka/security.ts';
import { Authority } from '../support/certificates.ts';
import { describeKafka } from '../support/describe-kafka.ts';
import { failureOf } from '../support/failure-of.ts';
import { openFiles } from '../support/proc.ts';
import {
  SECRETS,
  type SecuredKafka,
  SESSION_MS,
  startSecuredKafka,
  USERS,
} from '../support/secured-kafka.ts';
import { type Options, runHoplog, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;
const TOPIC = 'secured';
const FAILURES = 50;

const PLAIN = { mechanism: 'plain', username: USERS.plain, password: SECRETS.plain } as const;
const SCRAM_256 = {
  mechanism: 'scram-sha-256',
  username: USERS.scram256,
  password: SECRETS.scram256,
} as const;
const SCRAM_512 = {
  mechanism: 'scram-sha-512',
  username: USERS.scram512,
  password: SECRETS.scram512,
} as const;

describeKafka('secured listeners', () => {
  let secured: SecuredKafka;

  beforeAll(async () => {
    secured = await startSecuredKafka();
    await secured.kafka.createTopic({ name: TOPIC, partitions: 1 });
    for (const user of [...Object.values(USERS), 'CN=client']) {
      await secured.grant(user, TOPIC, 'WRITE', 'READ');
    }
  }, START_MAX_MS);

  afterAll(async () => {
    await secured?.[Symbol.asyncDispose]();
  });

  function configOf(options: Options): Config {
    return readCommandLine([], options as Record<string, string>).config;
  }

  function bearer(clientSecret: string): Options {
    return {
      KAFKA_BROKERS: secured.kafka.listener('BEARER'),
      KAFKA_SASL_MECHANISM: 'oauthbearer',
      KAFKA_OAUTH_TOKEN_URL: secured.tokens.tokenUrl,
      KAFKA_OAUTH_CLIENT_ID: USERS.oauth,
      KAFKA_OAUTH_CLIENT_SECRET: clientSecret,
      KAFKA_OAUTH_SCOPE: 'write',
    };
  }

  function mutual({ cert, key } = secured.client): Options {
    return { ...secured.options('MUTUAL'), KAFKA_TLS_CERT: cert, KAFKA_TLS_KEY: key };
  }

  describe('taken', () => {
    const WAYS: Readonly<Record<string, () => Options>> = {
      'SASL PLAIN': () => secured.options('SASL', PLAIN),
      'SASL PLAIN in TLS': () => secured.options('SASLTLS', PLAIN),
      'SCRAM-SHA-256': () => secured.options('SASL', SCRAM_256),
      'SCRAM-SHA-512 in TLS': () => secured.options('SASLTLS', SCRAM_512),
      OAUTHBEARER: () => bearer(SECRETS.oauth),
      'a client certificate': () => mutual(),
    };
    for (const [way, options] of Object.entries(WAYS)) {
      test(
        `${way}: hoplog ships, and tail reads`,
        async () => {
          using dir = tempDir();
          const target = { ...options(), KAFKA_TOPIC: TOPIC };
          const own = { JOURNAL_DIR: dir.path, JOURNAL_BYTES: '16MiB', FLUSH_INTERVAL_MS: 20 };
          await using server = await Server.start({ ...target, ...own });
          await fetch(`${server.url}/${encodeURIComponent(way)}`, { redirect: 'manual' });
          await server.delivered();
          expect(await server.ready()).toMatchObject({ status: 200 });
          expect(await server.stop()).toBe(0);
          const { exitCode, stdout } = await runHoplog(['tail'], target);
          expect(exitCode).toBe(0);
          expect(stdout).toContain(`"path":"/${encodeURIComponent(way)}"`);
        },
        TEST_MAX_MS,
      );
    }
  });

  describe('refused', () => {
    const tls = (): Options => ({ KAFKA_TLS: 'on', KAFKA_TLS_CA: secured.authority.cert });
    const WAYS: readonly (readonly [string, () => Options, string])[] = [
      ['no CA', () => ({ ...secured.options('TLS'), KAFKA_TLS_CA: '' }), 'name the CA file'],
      ['an expired certificate', () => secured.options('EXPIRED'), 'has expired'],
      ['another host', () => secured.options('ELSEWHERE'), 'for another host name'],
      ['no client certificate', () => secured.options('MUTUAL'), 'wants a client certificate'],
      [
        'a client certificate of another authority',
        () => mutual(new Authority(secured.dir, 'strangers').issue('stranger')),
        'refuses the certificate in KAFKA_TLS_CERT',
      ],
      [
        'TLS on a plain port',
        () => ({ ...tls(), KAFKA_BROKERS: secured.kafka.brokers }),
        'no TLS on this port',
      ],
      [
        'plain on a port with TLS',
        () => ({ KAFKA_BROKERS: secured.kafka.listener('TLS') }),
        'this port speaks TLS: set KAFKA_TLS=on',
      ],
      ['no SASL on a port with SASL', () => secured.options('SASL'), 'a port with SASL does that'],
      [
        'SASL on a port without',
        () => ({ ...secured.options('SASL', PLAIN), KAFKA_BROKERS: secured.kafka.brokers }),
        'SASL plain authentication failed: this port has no SASL',
      ],
      [
        'a mechanism the port does not have',
        () => ({
          ...secured.options('SASL', PLAIN),
          KAFKA_BROKERS: secured.kafka.listener('BEARER'),
        }),
        'SASL plain authentication failed: The broker does not support the requested SASL mechanism',
      ],
      ...[PLAIN, SCRAM_256, SCRAM_512].map(
        (login) =>
          [
            `a wrong password, ${login.mechanism}`,
            () => secured.options('SASL', { ...login, password: SECRETS.wrong }),
            `SASL ${login.mechanism} authentication failed: Authentication failed`,
          ] as const,
      ),
      [
        'an unknown user',
        () => secured.options('SASL', { ...SCRAM_256, username: 'nobody' }),
        'SASL scram-sha-256 authentication failed: Authentication failed',
      ],
      ['a wrong client secret', () => bearer(SECRETS.wrong), 'answers 401 (invalid_client)'],
      [
        'no token endpoint',
        () => ({ ...bearer(SECRETS.oauth), KAFKA_OAUTH_TOKEN_URL: 'http://127.0.0.1:1/' }),
        'http://127.0.0.1:1/ does not answer (ECONNREFUSED)',
      ],
    ];
    for (const [what, options, words] of WAYS) {
      test(`${what}: said in words, soon, and without a secret`, async () => {
        const cluster = Cluster.of(configOf(options()));
        const { message } = await failureOf(cluster.metadata(TOPIC));
        await cluster.close();
        expect(message).toContain(words);
        expect(message).not.toContain('\n');
        for (const secret of Object.values(SECRETS)) expect(message).not.toContain(secret);
      });
    }

    test('a token for somebody else: the broker’s word, not a closed connection', async () => {
      secured.tokens.audienceIsRight = false;
      const cluster = Cluster.of(configOf(bearer(SECRETS.oauth)));
      const error = await failureOf(cluster.metadata(TOPIC));
      secured.tokens.audienceIsRight = true;
      await cluster.close();
      expect(error).toBeInstanceOf(AuthenticationFailed);
      expect(error.message).toContain('invalid_token');
    });

    test('tail says why it cannot read, and exits with 2', async () => {
      const options = secured.options('SASL', { ...PLAIN, password: SECRETS.wrong });
      const { exitCode, stderr } = await runHoplog(['tail'], { ...options, KAFKA_TOPIC: TOPIC });
      expect(exitCode).toBe(2);
      expect(stderr).toContain('SASL plain authentication failed');
      expect(stderr.trimEnd()).not.toContain('\n');
      expect(stderr).not.toContain(SECRETS.wrong);
    });
  });

  test(
    'without READ a restart cannot ask what arrived: it says so, and resends',
    async () => {
      const topic = 'write-only';
      const { kafka } = secured;
      await kafka.createTopic({ name: topic, partitions: 1 });
      await secured.grant(USERS.scram256, topic, 'WRITE');
      using dir = tempDir();
      const options = {
        ...secured.options('SASL', SCRAM_256),
        KAFKA_TOPIC: topic,
        JOURNAL_DIR: dir.path,
        JOURNAL_BYTES: '16MiB',
        FLUSH_INTERVAL_MS: 20,
      };
      await using first = await Server.start(options);
      await waitFor(async () => (await first.ready()).status === 200, {
        timeoutMs: TEST_MAX_MS,
        what: 'the first server to be ready',
      });
      kafka.nodes[0]!.freeze();
      await fetch(`${first.url}/one`, { redirect: 'manual' });
      await waitFor(async () => (await first.metric('hoplog_batches_in_flight')) > 0, {
        timeoutMs: 5_000,
        what: 'a batch to be on its way',
      });
      await first.kill();
      kafka.nodes[0]!.thaw();
      await using second = await Server.start(options);
      await second.delivered();
      const warnings = second.log.filter(({ msg }) => msg.includes(`grant READ on topic ${topic}`));
      expect(warnings.length).toBeGreaterThan(0);
      // Within the broker's memory of five batches it is not doubled all the same.
      expect(await kafka.readTopic(topic)).toHaveLength(1);
      expect(await second.stop()).toBe(0);
    },
    TEST_MAX_MS,
  );

  test('a refusal is not asked for again for 5 s, and a reload ends the wait', async () => {
    const wrong = configOf(secured.options('SASL', { ...PLAIN, password: SECRETS.wrong }));
    const cluster = Cluster.of(wrong);
    await failureOf(cluster.metadata(TOPIC));
    using connecting = spyOn(await import('node:net'), 'connect');
    for (let times = 20; times > 0; times--) {
      expect(await failureOf(cluster.metadata(TOPIC))).toBeInstanceOf(AuthenticationFailed);
    }
    expect(connecting).not.toHaveBeenCalled();
    cluster.secure(readSecurity(configOf(secured.options('SASL', PLAIN))));
    expect((await cluster.metadata(TOPIC)).topicErrorCode).toBe(0);
    await cluster.close();
  });

  for (const [what, options] of [
    ['wrong passwords', () => secured.options('SASL', { ...PLAIN, password: SECRETS.wrong })],
    ['untrusted certificates', () => secured.options('EXPIRED')],
  ] as const) {
    test(
      `${FAILURES} ${what} leave no descriptor, listener or timer behind`,
      async () => {
        const config = configOf(options());
        const cluster = Cluster.of(config);
        const fail = async (): Promise<void> => {
          cluster.secure(readSecurity(config)); // ends the wait
          expect(await failureOf(cluster.metadata(TOPIC))).toBeInstanceOf(BrokerUnreachable);
        };
        for (let times = 3; times > 0; times--) await fail();
        const files = () => openFiles(process.pid) ?? 0;
        const before = files();
        using timers = spyOn(globalThis, 'setTimeout');
        using warnings = spyOn(process, 'emitWarning');
        using intervals = spyOn(globalThis, 'setInterval');
        using cleared = spyOn(globalThis, 'clearInterval');
        for (let times = FAILURES; times > 0; times--) await fail();
        await waitFor(() => files() <= before, {
          timeoutMs: 5_000,
          what: 'the descriptors to close',
        });
        expect(warnings).not.toHaveBeenCalled();
        // kafkajs's 1 ms timer for ever arms itself with less than nothing.
        expect(timers.mock.calls.filter(([, ms]) => (ms ?? 0) < 0)).toEqual([]);
        const ended = new Set<unknown>(cleared.mock.calls.map(([interval]) => interval));
        expect(intervals.mock.results.filter(({ value }) => !ended.has(value))).toEqual([]);
        await cluster.close();
      },
      TEST_MAX_MS,
    );
  }

  test('a session is replaced at 80 to 90 % of its life', async () => {
    const cluster = Cluster.of(configOf(secured.options('SHORT', SCRAM_256)));
    const ask = () => cluster.sendToAny(initProducerIdRequest());
    const startedAt = performance.now();
    await ask();
    using connecting = spyOn(await import('node:net'), 'connect');
    const failures: string[] = [];
    await waitFor(
      async () => {
        await ask().catch((error: Error) => failures.push(error.message));
        return connecting.mock.calls.length > 0;
      },
      { timeoutMs: TEST_MAX_MS, what: 'the session to be replaced' },
    );
    // A session that has ended costs the connection, and the request on it.
    expect(failures).toEqual([]);
    const lifeMs = performance.now() - startedAt;
    expect(lifeMs).toBeGreaterThan(SESSION_MS * 0.79);
    await cluster.close();
  });
});
