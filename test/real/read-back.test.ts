// What hoplog wrote can be read: by Kafka's own consumer and by kcat under each codec, by any msgpack
// decoder, and by `tail`, from the topic as from the journal, also while records still arrive.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { unpack } from 'msgpackr';
import { describeKafka } from '../support/describe-kafka.ts';
import { consoleConsumer, kcat } from '../support/kafka-tools.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { type Options, runHoplog, Server, spawnHoplog } from '../support/server.ts';
import { storedBatches } from '../support/stored-batches.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;
const REQUESTS = 40;

/** Sends requests `?n=FIRST` and up, one after the other. */
async function request(server: Server, first: number, count = REQUESTS): Promise<void> {
  for (let n = first; n < first + count; n++) {
    await fetch(`${server.url}/ü?n=${n}`, {
      redirect: 'manual',
      headers: { 'User-Agent': 'é'.repeat(9) },
    });
  }
}

/** The numbers of records printed as JSON, a line each. */
function numbersIn(lines: readonly string[]): number[] {
  return lines.map((line) => Number((JSON.parse(line) as { query: string }).query.slice(2)));
}

function linesOf(output: string): string[] {
  return output.split('\n').slice(0, -1);
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

/** `tail --follow` as a process: what it has printed so far, until the scope ends. */
function follow(options: Options): AsyncDisposable & { readonly lines: string[] } {
  const child = spawnHoplog(['tail', '--follow'], options);
  const lines: string[] = [];
  const reading = (async () => {
    let text = '';
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      lines.splice(0, Infinity, ...linesOf(text));
    }
  })();
  return {
    lines,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await reading;
    },
  };
}

async function seesAll(following: { readonly lines: string[] }, count: number): Promise<void> {
  const what = `${count} records printed by tail --follow`;
  await waitFor(() => following.lines.length >= count, { timeoutMs: 15_000, what });
  expect(numbersIn(following.lines).toSorted((a, b) => a - b)).toEqual(upTo(count));
}

describeKafka('records in Kafka', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  function optionsFor(topic: string, journalDir: string): Options {
    const target = { KAFKA_BROKERS: kafka.brokers, KAFKA_TOPIC: topic, FLUSH_INTERVAL_MS: 20 };
    return { ...target, JOURNAL_DIR: journalDir, JOURNAL_BYTES: '64MiB' };
  }

  for (const codec of ['none', 'gzip', 'zstd'] as const) {
    test(
      `KAFKA_COMPRESSION=${codec}: stored as such, and read alike by Kafka's consumer, kcat and tail`,
      async () => {
        await kafka.createTopic({ name: codec, partitions: 1 });
        using dir = tempDir();
        const options = { ...optionsFor(codec, dir.path), KAFKA_COMPRESSION: codec };
        await using server = await Server.start(options);
        await request(server, 1);
        expect(await server.stop()).toBe(0);
        const codecs = storedBatches(kafka.nodes[0]!, codec, 0).map((batch) => batch.codec);
        expect(new Set(codecs)).toEqual(new Set([codec]));
        const records = await kafka.readTopic(codec, { expected: REQUESTS });
        const values = records.map(({ value }) => value.toString());
        expect(numbersIn(values)).toEqual(upTo(REQUESTS));
        expect(await consoleConsumer(kafka, codec, REQUESTS)).toEqual(values);
        expect((await kcat(kafka, codec)) ?? values).toEqual(values);
        const { stdout, stderr, exitCode } = await runHoplog(['tail'], options);
        expect({ lines: linesOf(stdout), stderr, exitCode }).toEqual({
          lines: values,
          stderr: '',
          exitCode: 0,
        });
      },
      TEST_MAX_MS,
    );
  }

  test(
    'FORMAT=msgpack: plain maps to any decoder, and the same JSON lines from tail',
    async () => {
      await kafka.createTopic({ name: 'msgpack', partitions: 1 });
      using dir = tempDir();
      const options = { ...optionsFor('msgpack', dir.path), FORMAT: 'msgpack' };
      await using server = await Server.start(options);
      await request(server, 1);
      expect(await server.stop()).toBe(0);
      const records = await kafka.readTopic('msgpack', { expected: REQUESTS });
      // A map of up to 15 fields begins with 0x80 + their number; msgpackr's own record extension
      // with an ext byte, which other decoders reject.
      expect(new Set(records.map(({ value }) => value[0]))).toEqual(new Set([0x80 + 12]));
      const decoded = records.map(({ value }) => JSON.stringify(unpack(value)));
      expect(numbersIn(decoded)).toEqual(upTo(REQUESTS));
      expect(JSON.parse(decoded[0]!)).toMatchObject({
        status: 301,
        path: '/%C3%BC',
        user_agent: '�'.repeat(9),
      });
      const { stdout } = await runHoplog(['tail'], options);
      expect(linesOf(stdout)).toEqual(decoded);
    },
    TEST_MAX_MS,
  );

  test(
    'tail --follow of a topic prints what is there and then what arrives',
    async () => {
      await kafka.createTopic({ name: 'followed', partitions: 3 });
      using dir = tempDir();
      await using server = await Server.start(optionsFor('followed', dir.path));
      await request(server, 1, 3);
      await server.delivered();
      await using following = follow(optionsFor('followed', dir.path));
      await seesAll(following, 3);
      await request(server, 4, 3);
      await seesAll(following, 6);
    },
    TEST_MAX_MS,
  );

  test(
    'tail of a topic that does not exist says so in one line',
    async () => {
      using dir = tempDir();
      const { exitCode, stdout, stderr } = await runHoplog(
        ['tail'],
        optionsFor('absent', dir.path),
      );
      expect(stderr).toMatch(/^hoplog: [^\n]*topic absent[^\n]*\n$/);
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    },
    TEST_MAX_MS,
  );
});

for (const format of ['json', 'msgpack'] as const) {
  test(
    `tail prints the ${format} journal of a server that runs, the open batch included`,
    async () => {
      using dir = tempDir();
      const options = { JOURNAL_DIR: dir.path, JOURNAL_BYTES: '64MiB', FORMAT: format };
      await using server = await Server.start({ ...options, FLUSH_INTERVAL_MS: 600_000 });
      await request(server, 1);
      const { stdout, stderr, exitCode } = await runHoplog(['tail'], options);
      expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 });
      expect(numbersIn(linesOf(stdout))).toEqual(upTo(REQUESTS));
    },
    TEST_MAX_MS,
  );
}

test(
  'tail --follow of a journal sees later records, in the same batch, the next ones and the next segment',
  async () => {
    using dir = tempDir();
    // Segments of 76 KiB: a few hundred records go from one to the next, and to the one behind it.
    const options = { JOURNAL_DIR: dir.path, JOURNAL_BYTES: '1MiB', BATCH_BYTES: 4096 };
    await using server = await Server.start(options);
    await request(server, 1, 3);
    await using following = follow(options);
    await seesAll(following, 3);
    await request(server, 4, 2);
    await seesAll(following, 5);
    await request(server, 6, 600);
    await seesAll(following, 605);
  },
  TEST_MAX_MS,
);
