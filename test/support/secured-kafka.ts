// A Kafka node with one listener for each kind of security that a client may meet, good and bad, and with
// access lists: whoever logs in may do only what a test grants. The harness itself, on DIRECT, may do
// all.

import {
  AclOperationTypes,
  AclPermissionTypes,
  AclResourceTypes,
  Kafka,
  logLevel,
  ResourcePatternTypes,
  type SASLOptions,
} from 'kafkajs';
import { connect } from 'node:tls';
import { Authority, type CertificateFiles } from './certificates.ts';
import { runKafkaTool } from './kafka-jars.ts';
import { type KafkaCluster, type ListenerSpec, startKafka } from './kafka.ts';
import type { Options } from './server.ts';
import { tempDir } from './temp-dir.ts';
import { AUDIENCE, TokenServer } from './token-server.ts';
import { waitFor } from './wait-for.ts';

/** Told apart from everything else in any output. */
export const SECRETS = {
  plain: 'pl4in-Secret-0ne',
  scram256: 'scr4m-Secret-Two',
  scram512: 'scr4m-Secret-Thr33',
  oauth: 'o4uth-Secret-F0ur',
  wrong: 'wr0ng-Secret-Fiv3',
  rotated: 'rot4ted-Secret-S1x',
} as const;

export const USERS = { plain: 'polly', scram256: 'sam', scram512: 'sue', oauth: 'otto' } as const;
const TLS_LISTENERS: ReadonlySet<string> = new Set([
  'TLS',
  'MUTUAL',
  'EXPIRED',
  'ELSEWHERE',
  'SASLTLS',
]);

/** SASL sessions on the listener SHORT, ms. */
export const SESSION_MS = 4_000;

const PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule';
const SCRAM = 'org.apache.kafka.common.security.scram.ScramLoginModule';
const BEARER = 'org.apache.kafka.common.security.oauthbearer';

export interface SecuredKafka extends AsyncDisposable {
  readonly kafka: KafkaCluster;
  readonly tokens: TokenServer;
  /** Its certificate is what clients of the TLS listeners must trust. */
  readonly authority: Authority;
  readonly client: CertificateFiles;
  /** Where the test may make files. */
  readonly dir: string;
  grant(user: string, topic: string, ...operations: Operation[]): Promise<void>;
  revoke(user: string, topic: string, ...operations: Operation[]): Promise<void>;
  /** From now on the listener TLS shows this certificate to whoever connects. */
  present(certificate: CertificateFiles): Promise<void>;
  /** Of a user of SCRAM-SHA-512; connections that are open stay so. */
  changePassword(user: string, password: string): Promise<void>;
  /** What hoplog is started with: an address, and what proves who it is. */
  options(listener: string, login?: Login): Options;
}

export interface Login {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
  readonly username: string;
  /** Or the file that it is in. */
  readonly password?: string;
  readonly passwordFile?: string;
}

export type Operation = 'READ' | 'WRITE' | 'DESCRIBE';

export async function startSecuredKafka(): Promise<SecuredKafka> {
  await using started = new AsyncDisposableStack();
  const dir = started.use(tempDir()).path;
  const authority = new Authority(dir, 'authority');
  const client = authority.issue('client');
  const tokens = started.use(
    new TokenServer({ clientId: USERS.oauth, clientSecret: SECRETS.oauth }),
  );
  const kafka = started.use(
    await startKafka({
      nodes: 1,
      listeners: listeners(authority, tokens),
      formatOptions: [
        ...scramUser('SCRAM-SHA-256', USERS.scram256, SECRETS.scram256),
        ...scramUser('SCRAM-SHA-512', USERS.scram512, SECRETS.scram512),
      ],
      jvmOptions: [
        '-XX:TieredStopAtLevel=1',
        `-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=${tokens.keysUrl}`,
      ],
      serverProperties: {
        'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        'super.users': 'User:ANONYMOUS',
        // One after the other would come to know a new certificate.
        'num.network.threads': 1,
        'ssl.allow.dn.changes': true,
        'ssl.allow.san.changes': true,
        // A third of a second else, fifty times in a test.
        'connection.failed.authentication.delay.ms': 0,
      },
    }),
  );
  const resources = started.move();
  return {
    kafka,
    tokens,
    authority,
    client,
    dir,
    grant: (user, topic, ...operations) =>
      administer(kafka, async (admin) => {
        await admin.createAcls({ acl: entries(user, topic, operations) });
      }),
    revoke: (user, topic, ...operations) =>
      administer(kafka, async (admin) => {
        await admin.deleteAcls({ filters: entries(user, topic, operations) });
      }),
    present: async ({ both, name }) => {
      const target = ['--entity-type', 'brokers', '--entity-name', '1'];
      await configure(kafka, target, `listener.name.tls.ssl.keystore.location=${both}`);
      // Kafka applies it after it has said that it would.
      await waitFor(async () => (await shownBy(kafka.listener('TLS'))) === name, {
        timeoutMs: 10_000,
        what: `Kafka to show the certificate ${name}`,
      });
    },
    changePassword: async (user, password) => {
      const target = ['--entity-type', 'users', '--entity-name', user];
      await configure(kafka, target, `SCRAM-SHA-512=[password=${password}]`);
      const sasl = { mechanism: 'scram-sha-512', username: user, password } as const;
      await waitFor(() => logsIn(kafka.listener('SASL'), sasl), {
        timeoutMs: 10_000,
        what: `Kafka to take the new password of ${user}`,
      });
    },
    options: (listener, login) => ({
      KAFKA_BROKERS: kafka.listener(listener),
      ...(TLS_LISTENERS.has(listener) && { KAFKA_TLS: 'on', KAFKA_TLS_CA: authority.cert }),
      ...(login && loginOptions(login)),
    }),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

function listeners(authority: Authority, tokens: TokenServer): ListenerSpec[] {
  const good = tls(authority, authority.issue('broker'));
  const sasl = {
    'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
    'plain.sasl.jaas.config': `${PLAIN} required user_${USERS.plain}="${SECRETS.plain}";`,
    'scram-sha-256.sasl.jaas.config': `${SCRAM} required;`,
    'scram-sha-512.sasl.jaas.config': `${SCRAM} required;`,
  };
  return [
    { name: 'TLS', protocol: 'SSL', properties: good },
    { name: 'MUTUAL', protocol: 'SSL', properties: { ...good, 'ssl.client.auth': 'required' } },
    {
      name: 'EXPIRED',
      protocol: 'SSL',
      properties: tls(authority, authority.issue('expired', { expired: true })),
    },
    {
      name: 'ELSEWHERE',
      protocol: 'SSL',
      properties: tls(authority, authority.issue('elsewhere', { names: 'DNS:other.example' })),
    },
    { name: 'SASL', protocol: 'SASL_PLAINTEXT', properties: sasl },
    { name: 'SASLTLS', protocol: 'SASL_SSL', properties: { ...good, ...sasl } },
    {
      name: 'SHORT',
      protocol: 'SASL_PLAINTEXT',
      properties: { ...sasl, 'connections.max.reauth.ms': SESSION_MS },
    },
    {
      name: 'BEARER',
      protocol: 'SASL_PLAINTEXT',
      properties: {
        'sasl.enabled.mechanisms': 'OAUTHBEARER',
        'oauthbearer.sasl.jaas.config': `${BEARER}.OAuthBearerLoginModule required;`,
        'oauthbearer.sasl.server.callback.handler.class': `${BEARER}.OAuthBearerValidatorCallbackHandler`,
        'sasl.oauthbearer.jwks.endpoint.url': tokens.keysUrl,
        'sasl.oauthbearer.expected.audience': AUDIENCE,
        'connections.max.reauth.ms': 3_600_000,
      },
    },
  ];
}

function tls(authority: Authority, { both }: CertificateFiles): Record<string, string> {
  return {
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': both,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': authority.cert,
  };
}

function scramUser(mechanism: string, name: string, password: string): string[] {
  return ['--add-scram', `${mechanism}=[name=${name},password=${password}]`];
}

function loginOptions({ mechanism, username, password, passwordFile }: Login): Options {
  return {
    KAFKA_SASL_MECHANISM: mechanism,
    KAFKA_SASL_USERNAME: username,
    ...(password !== undefined && { KAFKA_SASL_PASSWORD: password }),
    ...(passwordFile !== undefined && { KAFKA_SASL_PASSWORD_FILE: passwordFile }),
  };
}

async function configure(
  { directBrokers }: KafkaCluster,
  target: readonly string[],
  setting: string,
): Promise<void> {
  const change = ['--alter', '--add-config', setting];
  const args = ['--bootstrap-server', directBrokers, ...target, ...change];
  await runKafkaTool('kafka.admin.ConfigCommand', args);
}

async function logsIn(broker: string, sasl: SASLOptions): Promise<boolean> {
  const retry = { retries: 0 };
  const admin = new Kafka({ brokers: [broker], sasl, retry, logLevel: logLevel.NOTHING }).admin();
  try {
    await admin.connect();
    return true;
  } finally {
    await admin.disconnect();
  }
}

/** Common name of the certificate that a client is shown. */
async function shownBy(address: string): Promise<string | undefined> {
  const [host, port] = address.split(':');
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () =>
    resolve(String(socket.getPeerCertificate().subject.CN)),
  );
  socket.on('error', reject);
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}

type Admin = ReturnType<Kafka['admin']>;

/** Not kept open: kafkajs's own client never rests (tulios/kafkajs#1751). */
async function administer(
  kafka: KafkaCluster,
  change: (admin: Admin) => Promise<void>,
): Promise<void> {
  const admin = kafka.client().admin();
  await admin.connect();
  try {
    await change(admin);
  } finally {
    await admin.disconnect();
  }
}

function entries(user: string, topic: string, operations: readonly Operation[]) {
  return operations.map((operation) => ({
    resourceType: AclResourceTypes.TOPIC,
    resourceName: topic,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: `User:${user}`,
    host: '*',
    operation: AclOperationTypes[operation],
    permissionType: AclPermissionTypes.ALLOW,
  }));
}
