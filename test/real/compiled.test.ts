// The one binary that `npm run build` makes: it needs neither node_modules nor Bun nor its source, and
// passes the same end-to-end test on a real Kafka as the source does.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { join } from 'node:path';
import { describeKafka } from '../support/describe-kafka.ts';
import { tempDir } from '../support/temp-dir.ts';

const REPOSITORY = join(import.meta.dir, '../..');
const BUILD_MAX_MS = 60_000;
const TEST_MAX_MS = 180_000;

describeKafka('hoplog as one binary', () => {
  const dir = tempDir();
  const binary = join(dir.path, 'hoplog');

  beforeAll(async () => {
    const build = ['build', '--compile', '--outfile', binary, 'src/server.ts'];
    const child = Bun.spawn([process.execPath, ...build], { cwd: REPOSITORY, stderr: 'pipe' });
    const complaints = await child.stderr.text();
    expect([await child.exited, complaints]).toEqual([0, expect.any(String)]);
  }, BUILD_MAX_MS);

  afterAll(() => dir[Symbol.dispose]());

  test('it prints its reference where there is nothing else', async () => {
    using elsewhere = tempDir();
    const child = Bun.spawn([binary, 'help'], { cwd: elsewhere.path, env: {}, stdout: 'pipe' });
    const printed = await child.stdout.text();
    expect(await child.exited).toBe(0);
    expect(printed).toContain('| KAFKA_BROKERS |');
  });

  test('it unpacks what it needs where BUN_TMPDIR says, and needs no other place to write to', async () => {
    using elsewhere = tempDir();
    const helpWith = (env: Record<string, string>) =>
      Bun.spawn([binary, 'help'], { env, stdout: 'ignore', stderr: 'ignore' }).exited;
    // Nobody may write to /proc.
    expect(await helpWith({ TMPDIR: '/proc' })).not.toBe(0);
    expect(await helpWith({ TMPDIR: '/proc', BUN_TMPDIR: elsewhere.path })).toBe(0);
  });

  test(
    'it passes the end-to-end test',
    async () => {
      const command = [process.execPath, 'test', 'test/real/end-to-end.test.ts'];
      const child = Bun.spawn(command, {
        cwd: REPOSITORY,
        env: { ...process.env, HOPLOG_PROGRAM: binary },
        stdout: 'pipe',
        stderr: 'pipe',
      });
      const report = await child.stderr.text();
      expect([await child.exited, report]).toEqual([0, expect.stringContaining(' 0 fail')]);
      // A file that is not found, or all skipped, would be no proof.
      expect(Number(/^ *(\d+) pass$/m.exec(report)?.[1])).toBeGreaterThan(5);
    },
    TEST_MAX_MS,
  );
});
