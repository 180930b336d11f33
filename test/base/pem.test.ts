// Certificates and keys: by path or as text, refused in one line when they cannot work, and never
// repeated in it. Made by openssl when the test runs.

import { afterAll, describe, expect, test } from 'bun:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../../src/config.ts';
import { readCertificates, readKeyPair } from '../../src/pem.ts';
import { Authority } from '../support/certificates.ts';
import { tempDir } from '../support/temp-dir.ts';

const dir = tempDir();
afterAll(() => dir[Symbol.dispose]());
const authority = new Authority(dir.path, 'authority');
const one = authority.issue('one');
const two = authority.issue('two');

function pair(cert: string, key: string) {
  return readKeyPair({ name: 'CERT', value: cert }, { name: 'KEY', value: key });
}

function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error('it is taken');
}

describe('taken', () => {
  test('a certificate and its key, by path', () => {
    expect(pair(one.cert, one.key)).toEqual({
      cert: readFileSync(one.cert, 'utf8'),
      key: readFileSync(one.key, 'utf8'),
    });
  });

  test('the PEM text itself, as NAME_FILE gives it', () => {
    const [cert, key] = [readFileSync(one.cert, 'utf8'), readFileSync(one.key, 'utf8')];
    expect(pair(cert, key)).toEqual({ cert, key });
  });

  test('several authorities in one file', () => {
    const both = [authority.cert, one.cert].map((path) => readFileSync(path, 'utf8')).join('');
    expect(readCertificates({ name: 'CA', value: both })).toBe(both);
  });
});

describe('refused', () => {
  const file = (name: string, text: string): string => {
    const path = join(dir.path, name);
    writeFileSync(path, text);
    return path;
  };

  test('a file that is not there, with its path', () => {
    const message = refusal(() => pair('/nowhere/cert.pem', one.key));
    expect(message).toBe(
      'CERT=/nowhere/cert.pem cannot be read (ENOENT): name a readable PEM file',
    );
  });

  test('a key that is no PEM and so taken for a path, without a word of it', () => {
    const der = Buffer.from(
      readFileSync(one.key, 'utf8')
        .replace(/-----.*-----/g, '')
        .trim(),
    );
    const message = refusal(() => pair(one.cert, der.toString()));
    expect(message).toMatch(/^KEY cannot be read \(\w+\): name a readable PEM file$/);
  });

  test('a key of another certificate', () => {
    expect(refusal(() => pair(one.cert, two.key))).toBe('KEY is not the key of CERT');
  });

  test('files that hold something else', () => {
    const junk = file('junk', 'hunter2');
    expect(refusal(() => pair(junk, one.key))).toStartWith('CERT holds no certificate');
    expect(refusal(() => pair(one.cert, junk))).toStartWith('KEY holds no private key');
    expect(refusal(() => pair(one.key, one.key))).toStartWith('CERT holds no certificate');
    expect(refusal(() => readCertificates({ name: 'CA', value: junk }))).toStartWith('CA holds no');
  });

  test('an encrypted key', () => {
    const path = join(dir.path, 'encrypted');
    const args = ['ec', '-in', one.key, '-aes256', '-passout', 'pass:hunter2', '-out', path];
    Bun.spawnSync(['openssl', ...args]);
    expect(refusal(() => pair(one.cert, path))).toStartWith('KEY is encrypted');
  });

  test('a damaged PEM text, which is not repeated', () => {
    const text = readFileSync(one.key, 'utf8').replace(/\n.{20}/, '\nhunter2');
    const message = refusal(() => pair(one.cert, text));
    expect(message).toStartWith('KEY holds no private key');
    expect(message).not.toContain('hunter2');
  });
});
