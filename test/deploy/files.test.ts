// What is in deploy/ is what its readers accept: the Dockerfile by hadolint, compose.yaml by the Compose
// specification, the unit by systemd's own check; and what they repeat from elsewhere (versions, ports,
// times) is what stands there. No image is built here: that needs a Docker engine.

import { describe, expect, test } from 'bun:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import packageJson from '../../package.json';
import { OPTIONS } from '../../src/options.ts';
import { listenAdmin } from '../../src/http/admin.ts';
import { KAFKA_VERSION } from '../support/kafka-jars.ts';
import { pythonToolsMissing, runPythonTool } from '../support/python-tools.ts';
import { tempDir } from '../support/temp-dir.ts';

const DEPLOY = join(import.meta.dir, '../../deploy');
const FETCH_MAX_MS = 120_000;
/** systemd's score of what a service could still do, 0 to 10. */
const EXPOSURE_MAX = 2;

function read(name: string): string {
  return readFileSync(join(DEPLOY, name), 'utf8');
}

function skipped(name: string, reason: string | undefined): boolean {
  if (reason !== undefined) process.stderr.write(`SKIPPED "${name}": ${reason}\n`);
  return reason !== undefined;
}

const noSystemd = Bun.which('systemd-analyze') === null ? 'no systemd-analyze here' : undefined;
const dockerfile = read('Dockerfile');
const compose = read('compose.yaml');
const unit = read('hoplog.service');

describe('linters', () => {
  test.skipIf(skipped('hadolint and the Compose specification', pythonToolsMissing()))(
    'hadolint has nothing to say about the Dockerfile, nor the specification about compose.yaml',
    () => {
      expect(runPythonTool('hadolint', [join(DEPLOY, 'Dockerfile')])).toEqual([0, '']);
      const schema = ['--builtin-schema', 'vendor.compose-spec', join(DEPLOY, 'compose.yaml')];
      expect(runPythonTool('check-jsonschema', schema)[0]).toBe(0);
    },
    FETCH_MAX_MS,
  );

  test.skipIf(skipped('systemd-analyze', noSystemd))(
    'systemd reads the unit without a complaint, and leaves it little to abuse',
    () => {
      using dir = tempDir();
      const path = join(dir.path, 'hoplog.service');
      // A program that is there: the check asks for it.
      writeFileSync(path, unit.replace('/usr/local/bin/hoplog', '/bin/true'));
      const verify = Bun.spawnSync(['systemd-analyze', 'verify', path], { stderr: 'pipe' });
      expect([verify.exitCode, verify.stderr.toString()]).toEqual([0, '']);
      const security = Bun.spawnSync(['systemd-analyze', 'security', '--offline=true', path]);
      const exposure = /exposure level for \S+: ([\d.]+)/.exec(security.stdout.toString())?.[1];
      expect(Number(exposure)).toBeLessThan(EXPOSURE_MAX);
    },
  );
});

describe('what is repeated from elsewhere', () => {
  test('Bun is the version of package.json', () => {
    expect(/^FROM oven\/bun:([\d.]+)-/m.exec(dockerfile)?.[1]).toBe(packageJson.dependencies.bun);
  });

  test('Kafka is the version of the tests', () => {
    const versions = [...compose.matchAll(/apache\/kafka:([\d.]+)/g)].map(([, version]) => version);
    expect(versions).toEqual([KAFKA_VERSION, KAFKA_VERSION]);
  });

  test('options are options, and ports their defaults', () => {
    const named = `${dockerfile}\n${compose.split('kafka:\n')[0]}\n${unit}`.matchAll(
      /\b((?:HOST|PORT|(?:ADMIN|DRAIN|JOURNAL|KAFKA|SHUTDOWN|REDIRECT|BATCH|FLUSH)_[A-Z_]+?)(?:_FILE)?)\b/g,
    );
    const unknown = [...named]
      .map(([, name = '']) => name.replace(/_FILE$/, ''))
      .filter((name) => !(name in OPTIONS));
    expect(unknown).toEqual([]);
    expect(dockerfile).toContain(`EXPOSE ${OPTIONS.PORT.fallback}`);
    expect(dockerfile).toContain(`ADMIN_PORT:-${OPTIONS.ADMIN_PORT.fallback}`);
    expect(compose).toContain(`${OPTIONS.PORT.fallback}:${OPTIONS.PORT.fallback}`);
  });

  test('what the binary unpacks goes where it may write', () => {
    expect(dockerfile).toContain('ENV JOURNAL_DIR=/journal BUN_TMPDIR=/journal\n');
    const directories = ['JOURNAL_DIR', 'BUN_TMPDIR'].map(
      (name) => new RegExp(`^Environment=${name}=(.*)$`, 'm').exec(unit)?.[1],
    );
    expect(directories).toEqual(['%S/hoplog', '%S/hoplog']);
  });

  test('whoever stops it waits longer than it takes', () => {
    const { DRAIN_DELAY_MS, SHUTDOWN_MS } = OPTIONS;
    const seconds = (Number(DRAIN_DELAY_MS.fallback) + Number(SHUTDOWN_MS.fallback)) / 1000;
    expect(Number(/stop_grace_period: (\d+)s/.exec(compose)?.[1])).toBeGreaterThan(seconds);
    expect(Number(/TimeoutStopSec=(\d+)/.exec(unit)?.[1])).toBeGreaterThan(seconds);
  });
});

test('the health check of the image says 0 for a server that is alive, and not for none', async () => {
  const [command = ''] = /"-c", \\\n {2}(".*")\]/.exec(dockerfile)?.slice(1) ?? [];
  const script = JSON.parse(command) as string;
  const health = async (port: number | 'off') =>
    await Bun.spawn(['bash', '-c', script], {
      env: { PATH: process.env['PATH'], ADMIN_PORT: String(port) },
      stderr: 'ignore',
    }).exited;
  const server = listenAdmin({
    hostname: '127.0.0.1',
    port: 0,
    // The check has no token, and needs none.
    token: () => 'secret',
    troubles: () => ['not ready'],
    metrics: async () => '',
  });
  const port = server.port!;
  expect(await health(port)).toBe(0);
  await server.stop(true);
  expect(await health(port)).not.toBe(0);
  expect(await health('off')).toBe(0);
});
