// `tail`: records as one JSON a line, from the topic, or in local mode from all journals under
// JOURNAL_DIR: each in its own order, one after the other.

import type { Config } from '../config.ts';
import { JournalReader } from '../journal/journal-reader.ts';
import { JournalUnusable } from '../journal/journal-directory.ts';
import { journalDirectories } from '../journal/journal-layout.ts';
import { Cluster } from '../kafka/cluster.ts';
import { TopicReader } from '../kafka/topic-reader.ts';
import { jsonOf } from '../record/decode.ts';

const POLL_MS = 250;

export async function tail(config: Config, follow: boolean): Promise<void> {
  stopQuietlyWhenNobodyReads();
  const read = config.KAFKA_BROKERS.length > 0 ? topicValues(config) : journalValues(config);
  for (;;) {
    for await (const value of read()) await print(`${jsonOf(value)}\n`);
    // kafkajs keeps sockets open that nobody needs any more, so the end is said aloud.
    if (!follow) process.exit(0);
    await Bun.sleep(POLL_MS);
  }
}

function topicValues(config: Config) {
  const reader = new TopicReader(Cluster.of(config), config.KAFKA_TOPIC);
  return async function* values(): AsyncGenerator<Uint8Array> {
    for await (const records of reader.read()) yield* records.map(({ value }) => value);
  };
}

function journalValues({ JOURNAL_DIR }: Config) {
  const readers = new Map<string, JournalReader>();
  return function* values(): Generator<Uint8Array> {
    try {
      for (const directory of journalDirectories(JOURNAL_DIR)) {
        const reader = readers.get(directory) ?? new JournalReader(directory);
        readers.set(directory, reader);
        yield* reader.read();
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new JournalUnusable(
        `JOURNAL_DIR=${JOURNAL_DIR} cannot be read (${code}). ` +
          'Name the directory of a server, or set KAFKA_BROKERS to read the topic',
      );
    }
  };
}

async function print(line: string): Promise<void> {
  if (process.stdout.write(line)) return;
  await new Promise((resolve) => {
    process.stdout.once('drain', resolve);
  });
}

/** `tail | head` closes the pipe: that is the end, not an error. */
function stopQuietlyWhenNobodyReads(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? 0 : 1);
  });
}
