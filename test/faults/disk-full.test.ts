// Faults 55 and 56: the disk fills up while hoplog runs with Kafka away, by somebody else's file. The
// journal was promised more room than there now is: hoplog lives on, applies JOURNAL_FULL to what
// does not fit, can name it, and grows again by itself when the file is gone.
// The disk is a small tmpfs that only hoplog sees: Linux with user namespaces, else skipped.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeKafka } from '../support/describe-kafka.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { Oracle } from '../support/oracle.ts';
import { Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;
const REACTION_MAX_MS = 20_000;
const DISK_BYTES = 24 * 2 ** 20;

/** Runs the command behind it with a small disk of its own at `path`. */
function onSmallDisk(path: string): string[] {
  const mount = `mount -t tmpfs -o size=${DISK_BYTES} none "$0" && exec "$@"`;
  return ['unshare', '--mount', '--map-root-user', 'sh', '-c', mount, path];
}

function smallDisksWork(): boolean {
  if (Bun.which('unshare') === null) return false;
  using dir = tempDir();
  return Bun.spawnSync([...onSmallDisk(dir.path), 'true']).exitCode === 0;
}

/** Fills the disk that process `pid` sees at `path`; undone by disposing. */
function fillDisk(pid: number, path: string): Disposable {
  const filler = join(`/proc/${pid}/root`, path, 'filler');
  expect(() => writeFileSync(filler, Buffer.alloc(DISK_BYTES))).toThrow('ENOSPC');
  return { [Symbol.dispose]: () => rmSync(filler, { force: true }) };
}

describeKafka('hoplog on a disk that fills up', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1, topics: [{ name: 'disk', partitions: 2 }] });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  const works = smallDisksWork();
  if (!works)
    process.stderr.write('SKIPPED "hoplog on a disk that fills up": no user namespaces\n');

  test.skipIf(!works)(
    'faults 55 and 56: what does not fit is counted and named, and it grows again when there is room',
    async () => {
      using dir = tempDir();
      await kafka.nodes[0]!.kill();
      const options = {
        KAFKA_BROKERS: kafka.brokers,
        KAFKA_TOPIC: 'disk',
        JOURNAL_DIR: dir.path,
        JOURNAL_BYTES: '20MiB',
        BATCH_BYTES: 16_384,
        FLUSH_INTERVAL_MS: 50,
      };
      await using server = await Server.start(options, onSmallDisk(dir.path));
      const counter = async (name: string, atLeast: number) => {
        await waitFor(async () => (await server.metric(name)) >= atLeast, {
          timeoutMs: REACTION_MAX_MS,
          what: `${name} to reach ${atLeast}`,
        });
      };
      const oracle = new Oracle();
      await using load = await Load.start(server.url, oracle, { perSecond: 3_000 });
      await counter('hoplog_records_appended_total', 1_000);
      {
        using _full = fillDisk(server.pid, dir.path);
        await counter('hoplog_records_dropped_total{cause="journal full"}', 5_000);
      }
      const appended = await server.metric('hoplog_records_appended_total');
      await counter('hoplog_records_appended_total', appended + 3_000);
      await load.stop();
      const dropped = await server.metric('hoplog_records_dropped_total{cause="journal full"}');

      await kafka.nodes[0]!.start();
      await server.delivered();
      expect(oracle.notRedirected).toEqual([]);
      const { delivered, twice, invented, altered, disordered } = oracle.judge(
        await kafka.readTopic('disk'),
      );
      expect([twice, invented, altered, disordered]).toEqual([[], [], [], []]);
      expect(delivered).toHaveLength(oracle.issued - dropped);
      const named = server.log.filter(({ msg }) => msg === 'records lost');
      expect(named.reduce((sum, { count }) => sum + Number(count), 0)).toBe(dropped);
      // Once a second it tries to grow, and says that it failed; never once a request.
      const complaints = server.log.filter(({ msg }) => msg.includes('segment failed'));
      expect(complaints.length).toBeWithin(1, 20);
      expect(await server.stop()).toBe(0);
      expect(server.noise).toEqual([]);
    },
    TEST_MAX_MS,
  );
});
