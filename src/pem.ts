// Certificates and keys as options name them: the path of a PEM file, or the PEM text itself (so that
// NAME_FILE works for them as for any option). Whatever cannot work is refused here, in one line,
// rather than at the first handshake. Never repeats what it read.

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Config, ConfigError } from './config.ts';

export interface PemOption {
  readonly name: string;
  readonly value: string;
}

export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** One or more certificates. @throws {ConfigError} */
export function readCertificates({ name, value }: PemOption): string {
  const pem = readPem(name, value);
  parseCertificate(name, pem);
  return pem;
}

/** A certificate (behind it perhaps its chain) and the key that belongs to it. @throws {ConfigError} */
export function readKeyPair(certificate: PemOption, privateKey: PemOption): KeyPair {
  const cert = readPem(certificate.name, certificate.value);
  const key = readPem(privateKey.name, privateKey.value, 'secret');
  if (!parseCertificate(certificate.name, cert).checkPrivateKey(parseKey(privateKey.name, key))) {
    throw new ConfigError(`${privateKey.name} is not the key of ${certificate.name}`);
  }
  return { cert, key };
}

/** The certificate shown to visitors; undefined = plain HTTP. @throws {ConfigError} */
export function readPublicKeyPair({ TLS_CERT, TLS_KEY }: Config): KeyPair | undefined {
  if (TLS_CERT === '') return undefined;
  return readKeyPair({ name: 'TLS_CERT', value: TLS_CERT }, { name: 'TLS_KEY', value: TLS_KEY });
}

/** A `secret` value may be a key that is no PEM, and not the path it is taken for: it is not shown. */
function readPem(name: string, value: string, kind: 'public' | 'secret' = 'public'): string {
  if (value.includes('-----BEGIN ')) return value;
  try {
    return readFileSync(value, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const shown = kind === 'secret' ? '' : `=${value}`;
    throw new ConfigError(`${name}${shown} cannot be read (${code}): name a readable PEM file`);
  }
}

function parseCertificate(name: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new ConfigError(`${name} holds no certificate: it must be in PEM form`);
  }
}

function parseKey(name: string, pem: string): KeyObject {
  if (/ENCRYPTED/.test(pem)) {
    throw new ConfigError(`${name} is encrypted: give it without a passphrase, readable by hoplog`);
  }
  try {
    return createPrivateKey(pem);
  } catch {
    throw new ConfigError(`${name} holds no private key: it must be in PEM form`);
  }
}
