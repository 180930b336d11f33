// Faults 57, 58, 59 and 62: the disk under the journal turns read-only, has no storage behind it, says EIO
// to fdatasync or takes 2 s for it. Redirects never notice. A segment the disk refused is not written
// again and its batches are delivered from memory; the journal goes on in others while there are any,
// then JOURNAL_FULL holds, and what that costs is counted and named.
// Real file systems in loop devices, and strace for what those cannot do: Linux and root, else skipped.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readdirSync } from 'node:fs';
import { Control } from '../support/control.ts';
import { describeKafka } from '../support/describe-kafka.ts';
import { disksUnavailable, inject, loopDisk, straceUnavailable } from '../support/disks.ts';
import { extent } from '../support/extent.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { Oracle } from '../support/oracle.ts';
import { underLoad } from '../support/scenario.ts';
import { type Options, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 120_000;
const REACTION_MAX_MS = 30_000;
const MIB = 2 ** 20;
/** Of a journal of 64 MiB. */
const SEGMENT = MIB;
/** Sixty-four segments of 128 KiB: at 4,000 requests a second some twelve a second are used up. */
const SMALL = { JOURNAL_BYTES: '8MiB', BATCH_BYTES: 16_384, FLUSH_INTERVAL_MS: 50 };
const REFUSED = 'hoplog_journal_refused_segments_total';
const DROPPED = 'hoplog_records_dropped_total{cause="journal full"}';

describeKafka('hoplog on a disk that fails', () => {
  let kafka: KafkaCluster;
  const node = () => kafka.nodes[0]!;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  async function reaches(server: Server, counter: string, atLeast: number): Promise<void> {
    await waitFor(async () => (await server.metric(counter)) >= atLeast, {
      timeoutMs: REACTION_MAX_MS,
      what: `${counter} to reach ${atLeast}`,
    });
  }

  /**
   * With Kafka frozen and under load, `fail` breaks the disk; the load goes on until records are dropped
   * for want of room. Then Kafka goes on and must get each record that was not dropped, once.
   */
  async function diskFailsForGood(
    topic: string,
    options: Options,
    fail: (server: Server) => Promise<void>,
  ): Promise<void> {
    await kafka.createTopic({ name: topic, partitions: 2 });
    node().freeze();
    const target = { KAFKA_BROKERS: kafka.brokers, KAFKA_TOPIC: topic };
    await using server = await Server.start({ ...SMALL, ...target, ...options });
    const oracle = new Oracle();
    await using load = await Load.start(server.url, oracle, { perSecond: 4_000 });
    await reaches(server, 'hoplog_records_appended_total', 1_000);
    await fail(server);
    await reaches(server, REFUSED, 1);
    await reaches(server, DROPPED, 2_000);
    await load.stop();
    expect(load.interrupted).toBe(0);
    expect(oracle.notRedirected).toEqual([]);
    const dropped = await server.metric(DROPPED);

    node().thaw();
    await server.delivered();
    const { delivered, twice, invented, altered, disordered } = oracle.judge(
      await kafka.readTopic(topic),
    );
    expect([twice, invented, altered, disordered]).toEqual([[], [], [], []]);
    expect(delivered).toHaveLength(oracle.issued - dropped);
    // A line a segment and one a second, never one a request.
    expect(server.log.length).toBeLessThan(300);
    process.stderr.write(
      `${topic}: ${await server.metric(REFUSED)} segments refused, ${delivered.length} records ` +
        `delivered, ${dropped} dropped and named\n`,
    );
    expect(await server.stop()).toBe(0);
    expect(server.noise).toEqual([]);
    const named = server.log.filter(({ msg }) => msg === 'records lost');
    expect(named.reduce((sum, { count }) => sum + Number(count), 0)).toBe(dropped);
  }

  const noDisks = disksUnavailable();
  const noStrace = straceUnavailable();
  for (const reason of [noDisks, noStrace]) {
    if (reason !== undefined) process.stderr.write(`SKIPPED faults of the disk: ${reason}\n`);
  }

  test.skipIf(noDisks !== undefined)(
    'fault 57: ext4 turns read-only under it: what fits is kept and delivered, the rest is dropped and named',
    async () => {
      using disk = loopDisk({ bytes: 64 * MIB });
      const options = { JOURNAL_DIR: `${disk.path}/journal`, JOURNAL_SYNC_MS: 100 };
      await diskFailsForGood('read-only', options, async () => disk.turnReadOnly());
    },
    TEST_MAX_MS,
  );

  test.skipIf(noDisks !== undefined)(
    'fault 58: writes to the disk fail behind its back: what is in memory is delivered, the rest is dropped and named',
    async () => {
      using disk = loopDisk({ bytes: 64 * MIB, backedBytes: 6 * MIB });
      const options = { JOURNAL_DIR: `${disk.path}/journal`, JOURNAL_SYNC_MS: 100 };
      await diskFailsForGood('thin', options, async () => {});
    },
    TEST_MAX_MS,
  );

  test.skipIf(noStrace !== undefined)(
    'fault 58: EIO when a segment is written: what there is of them is used, and grown again afterwards',
    async () => {
      await kafka.createTopic({ name: 'write-error', partitions: 2 });
      using dir = tempDir();
      // A segment takes ten seconds of this load: time enough for Kafka to free the one before it.
      const options = { ...SMALL, JOURNAL_BYTES: '64MiB', JOURNAL_DIR: dir.path };
      const load = { perSecond: 300 };
      const files = Array.from(
        { length: 99 },
        (_, number) => `${dir.path}/${String(number).padStart(8, '0')}.segment.new`,
      );
      await underLoad(kafka, { topic: 'write-error', options, load }, async (scenario) => {
        const { server, oracle } = scenario;
        const complaints = () => server.log.filter(({ msg }) => msg.includes('segment failed'));
        const bytes = () => server.metric('hoplog_journal_bytes');
        /** More load until a segment is full and another one has to be made. */
        const burstUntil = async (what: string, condition: () => unknown): Promise<void> => {
          const isDelivered = async () =>
            (await server.metric('hoplog_journal_backlog_bytes')) < SEGMENT / 8;
          const wait = { timeoutMs: REACTION_MAX_MS };
          await waitFor(isDelivered, { ...wait, what: 'Kafka to have all but the newest' });
          await using burst = await Load.start(server.url, oracle, { perSecond: 4_000 });
          await waitFor(condition, { ...wait, what });
          await burst.stop();
        };
        // One that is filled and a spare: with the first alone, a failure leaves no room at all.
        // The metric counts one that is still being written.
        const isSegment = (name: string): boolean => name.endsWith('.segment');
        await waitFor(() => readdirSync(dir.path).filter(isSegment).length === 2, {
          timeoutMs: REACTION_MAX_MS,
          what: 'a spare',
        });
        {
          await using _fault = await inject(server.pid, 'write,pwrite64', 'error=EIO', files);
          for (const count of [1, 2]) {
            await burstUntil('a segment that cannot be made', () => complaints().length >= count);
          }
          await scenario.goesOn(100);
        }
        for (const { reason } of complaints()) expect(reason).toContain('EIO');
        scenario.noteHit();
        const before = await bytes();
        await burstUntil('a segment more', async () => (await bytes()) > before);
        expect(await server.metric(DROPPED)).toBe(0);
      });
    },
    TEST_MAX_MS,
  );

  test.skipIf(noStrace !== undefined)(
    'fault 59: EIO at one fdatasync of four: the segment is given up, the journal goes on in others, all is delivered',
    async () => {
      await kafka.createTopic({ name: 'sync-error', partitions: 2 });
      const options = { ...SMALL, JOURNAL_SYNC_MS: 100 };
      const load = { perSecond: 1_000 };
      await underLoad(kafka, { topic: 'sync-error', options, load }, async (scenario) => {
        const { server } = scenario;
        {
          await using _fault = await inject(server.pid, 'fdatasync', 'error=EIO:when=1+4');
          await reaches(server, REFUSED, extent(5, 100));
          await scenario.goesOn();
        }
        const complaints = server.log.flatMap(
          ({ msg }) => /fdatasync (\S+) failed/.exec(msg)?.[1] ?? [],
        );
        expect(complaints.length).toBeGreaterThanOrEqual(extent(5, 100));
        expect(new Set(complaints).size).toBe(complaints.length);
        scenario.noteHit();
        await scenario.delivers(500);
        const refused = await server.metric(REFUSED);
        await scenario.delivers(500);
        expect(await server.metric(REFUSED)).toBe(refused);
        expect(await server.metric(DROPPED)).toBe(0);
      });
    },
    TEST_MAX_MS,
  );

  test.skipIf(noStrace !== undefined)(
    'fault 62: while each fdatasync takes 2 s, redirects are as fast as at the same moment without, and records are delivered',
    async () => {
      await kafka.createTopic({ name: 'slow-sync', partitions: 2 });
      // Room for what waits for the disk: one that is too small for it makes a burst wait.
      const options = { JOURNAL_BYTES: '256MiB', JOURNAL_SYNC_MS: 200 };
      // Segments that wait for the disk are made up for by new ones.
      const moreFiles = 64;
      // strace stops both servers at each system call.
      const load = { perSecond: 1_000 };
      await underLoad(kafka, { topic: 'slow-sync', options, moreFiles, load }, async (scenario) => {
        const { server, load: tested } = scenario;
        await using control = await Control.start(kafka, 'quick-sync', options, load);
        // Traced both: that alone makes everything slower.
        await using _quick = await inject(control.server.pid, 'fdatasync', 'delay_enter=1us');
        await using slow = await inject(server.pid, 'fdatasync', 'delay_enter=2s');
        tested.slowestMs = 0;
        control.load.slowestMs = 0;
        await control.isNoFasterThan(tested, { forMs: extent(2_000, 20_000) });
        await scenario.delivers(extent(500, 10_000));
        await waitFor(() => slow.hits() >= 2, {
          timeoutMs: REACTION_MAX_MS,
          what: 'a second fdatasync',
        });
        scenario.noteHit();
        const slowestMs = [tested.slowestMs, control.load.slowestMs] as const;
        process.stderr.write(
          `slowest ${slowestMs.map((ms) => ms.toFixed()).join(' ms, control ')}\n`,
        );
        // One that had waited for the disk would have taken 2 s.
        expect(slowestMs[0]).toBeLessThan(2 * slowestMs[1] + 1_000);
        expect(await server.metric(DROPPED)).toBe(0);
      });
    },
    TEST_MAX_MS,
  );
});
