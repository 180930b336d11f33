// Options that make sense one by one and not together. Each rule is one line for whoever set them:
// what contradicts what, and what to do.

import type { Config } from './options.ts';

type Name = keyof Config;
type Mechanism = Config['KAFKA_SASL_MECHANISM'];

const LOGIN: readonly Name[] = ['KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD'];
const CLIENT: readonly Name[] = [
  'KAFKA_OAUTH_TOKEN_URL',
  'KAFKA_OAUTH_CLIENT_ID',
  'KAFKA_OAUTH_CLIENT_SECRET',
];
const SCOPE: Name = 'KAFKA_OAUTH_SCOPE';

const NEEDED: Readonly<Record<Mechanism, readonly Name[]>> = {
  none: [],
  plain: LOGIN,
  'scram-sha-256': LOGIN,
  'scram-sha-512': LOGIN,
  oauthbearer: CLIENT,
};

/** Where an address leads to no other machine. A name is taken at its word only if it is this one. */
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|::1|::ffff:127(?:\.\d{1,3}){3})$/i;

/** The first one found; never a value, which may be a secret. */
export function findContradiction(config: Config): string | undefined {
  const isSet = (name: Name): boolean => config[name] !== '';
  if (config.ADMIN_PORT !== 'off' && !LOOPBACK.test(config.ADMIN_HOST) && !isSet('ADMIN_TOKEN')) {
    return (
      'ADMIN_HOST is not a loopback address: others could read what is asked there. ' +
      'Set ADMIN_TOKEN or ADMIN_TOKEN_FILE, or ADMIN_HOST=127.0.0.1'
    );
  }
  for (const whose of ['', 'KAFKA_'] as const) {
    const [cert, key] = [`${whose}TLS_CERT`, `${whose}TLS_KEY`] as const;
    if (isSet(cert) !== isSet(key)) return `${cert} and ${key} go together: set both or neither`;
  }
  const tls = (['KAFKA_TLS_CA', 'KAFKA_TLS_CERT'] as const).find(isSet);
  if (tls && config.KAFKA_TLS === 'off') return `${tls} is set and KAFKA_TLS is off: set it to on`;

  return findSaslContradiction(config) ?? findMissingBrokers(config);
}

function findSaslContradiction(config: Config): string | undefined {
  const isSet = (name: Name): boolean => config[name] !== '';
  const { KAFKA_SASL_MECHANISM: mechanism } = config;
  const needed = NEEDED[mechanism];
  const missing = needed.find((name) => !isSet(name));
  if (missing) return `KAFKA_SASL_MECHANISM=${mechanism} needs ${missing}: set it`;
  const possible = mechanism === 'oauthbearer' ? [...needed, SCOPE] : needed;
  const surplus = [...LOGIN, ...CLIENT, SCOPE].find(
    (name) => isSet(name) && !possible.includes(name),
  );
  if (!surplus) return undefined;
  return mechanism === 'none'
    ? `${surplus} is set without a mechanism: set KAFKA_SASL_MECHANISM`
    : `${surplus} does not go with KAFKA_SASL_MECHANISM=${mechanism}: remove one of them`;
}

function findMissingBrokers(config: Config): string | undefined {
  const { KAFKA_BROKERS, KAFKA_TLS, KAFKA_SASL_MECHANISM } = config;
  const isSecured = KAFKA_TLS === 'on' || KAFKA_SASL_MECHANISM !== 'none';
  if (!isSecured || KAFKA_BROKERS.length > 0) return undefined;
  return 'a secured cluster is described and no broker named, so records would stay in the journal: set KAFKA_BROKERS';
}
