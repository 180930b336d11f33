// Certificates of a test's own, made with openssl when it runs: an authority, and what it signs. Made for
// 127.0.0.1 and localhost unless another host is asked for. EC keys, so that each takes milliseconds.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
const HERE = 'DNS:localhost,IP:127.0.0.1';

/** Paths of PEM files. */
export interface CertificateFiles {
  /** Common name. */
  readonly name: string;
  readonly cert: string;
  readonly key: string;
  /** Key and certificate in one, as Kafka wants it. */
  readonly both: string;
}

export interface CertificateOptions {
  readonly names?: string;
  readonly expired?: boolean;
}

export class Authority {
  /** PEM file of its certificate. */
  readonly cert: string;
  readonly #dir: string;
  readonly #key: string;

  constructor(dir: string, name: string) {
    this.#dir = dir;
    this.cert = join(dir, `${name}.pem`);
    this.#key = join(dir, `${name}.key`);
    const files = ['-keyout', this.#key, '-out', this.cert];
    openssl('req', '-x509', ...NEW_KEY, ...files, '-subj', `/CN=${name}`, '-days', '2');
  }

  issue(
    name: string,
    { names = HERE, expired = false }: CertificateOptions = {},
  ): CertificateFiles {
    const file = (ending: string): string => join(this.#dir, `${name}.${ending}`);
    const [cert, key, both] = [file('pem'), file('key'), file('both')];
    openssl('req', ...NEW_KEY, '-keyout', key, '-out', file('csr'), '-subj', `/CN=${name}`);
    writeFileSync(file('ext'), `subjectAltName=${names}\n`);
    const signing = ['-CA', this.cert, '-CAkey', this.#key, '-CAcreateserial'];
    const life = ['-days', expired ? '-1' : '1'];
    const files = ['-in', file('csr'), '-out', cert, '-extfile', file('ext')];
    openssl('x509', '-req', ...files, ...signing, ...life);
    writeFileSync(both, readFileSync(key, 'utf8') + readFileSync(cert, 'utf8'));
    return { name, cert, key, both };
  }
}

function openssl(...args: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(['openssl', ...args], { stderr: 'pipe' });
  if (exitCode !== 0) throw new Error(`openssl ${args[0]} failed: ${stderr.toString()}`);
}
