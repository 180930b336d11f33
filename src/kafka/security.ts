// What a secured cluster wants of a client, made from the options: TLS files and SASL credentials, read
// and checked when called, so that calling it again reads them again. Opens no connection.

import type { ConnectionOptions } from 'node:tls';
import type { Config } from '../config.ts';
import { readCertificates, readKeyPair } from '../pem.ts';
import { bearerMechanism, type SaslExchange, TokenSource } from './oauth.ts';

/** As kafkajs's `sasl` option. */
export interface Sasl {
  readonly mechanism: string;
  readonly username?: string;
  readonly password?: string;
  readonly authenticationProvider?: (exchange: SaslExchange) => { authenticate(): Promise<void> };
}

export interface Security {
  readonly tls?: ConnectionOptions | undefined;
  readonly sasl?: Sasl | undefined;
}

/** Its options contradict each other nowhere: readCommandLine saw to that. @throws {ConfigError} */
export function readSecurity(config: Config): Security {
  return { tls: readTls(config), sasl: readSasl(config) };
}

function readTls(config: Config): ConnectionOptions | undefined {
  if (config.KAFKA_TLS === 'off') return undefined;
  const { KAFKA_TLS_CA, KAFKA_TLS_CERT, KAFKA_TLS_KEY } = config;
  return {
    ...(KAFKA_TLS_CA !== '' && {
      ca: readCertificates({ name: 'KAFKA_TLS_CA', value: KAFKA_TLS_CA }),
    }),
    ...(KAFKA_TLS_CERT !== '' &&
      readKeyPair(
        { name: 'KAFKA_TLS_CERT', value: KAFKA_TLS_CERT },
        { name: 'KAFKA_TLS_KEY', value: KAFKA_TLS_KEY },
      )),
  };
}

function readSasl(config: Config): Sasl | undefined {
  const { KAFKA_SASL_MECHANISM: mechanism } = config;
  if (mechanism === 'none') return undefined;
  if (mechanism !== 'oauthbearer') {
    const { KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password } = config;
    return { mechanism, username, password };
  }
  const tokens = new TokenSource({
    tokenUrl: config.KAFKA_OAUTH_TOKEN_URL,
    clientId: config.KAFKA_OAUTH_CLIENT_ID,
    clientSecret: config.KAFKA_OAUTH_CLIENT_SECRET,
    scope: config.KAFKA_OAUTH_SCOPE,
  });
  return { mechanism, authenticationProvider: bearerMechanism(tokens) };
}
