// The log that the variants with kafkajs share: an array of records, given to kafkajs's producer once a
// second or at recordsMax. Written fairly: sends overlap, nothing blocks the handler, acks are `all`.
// What it cannot do: survive SIGKILL, or keep a batch that kafkajs gave up on.

import { Kafka, logLevel, Partitioners } from 'kafkajs';

// kafkajs puts all messages of one send into one batch: 5,000 records of about 120 bytes stay well
// below the broker's default message.max.bytes of 1 MiB, 10,000 would be refused.
const recordsMax = 5_000;
const lingerMs = 1_000;

export async function openLog() {
  const topic = process.env.KAFKA_TOPIC ?? 'log';
  const kafka = new Kafka({
    clientId: 'bench',
    brokers: (process.env.KAFKA_BROKERS ?? '').split(','),
    logLevel: logLevel.ERROR,
  });
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  let messages = [];
  const sends = new Set();
  const flush = () => {
    if (messages.length === 0) return;
    const batch = messages;
    messages = [];
    const send = producer
      .send({ topic, acks: -1, messages: batch })
      .catch((error) => console.error(`lost ${batch.length} records:`, error))
      .finally(() => sends.delete(send));
    sends.add(send);
  };
  const timer = setInterval(flush, lingerMs);
  return {
    add(address, port) {
      messages.push({ value: recordOf(address, port) });
      if (messages.length >= recordsMax) flush();
    },
    async close() {
      clearInterval(timer);
      flush();
      await Promise.all(sends);
      await producer.disconnect();
    },
  };
}

/** The record of every variant. */
export function recordOf(address, port) {
  return JSON.stringify({
    runtime_param: 'runtimeDataString',
    async_param: 'asyncDataString',
    remote_address: `${address}:${port}`,
  });
}

/** Every variant ends that way: nothing new, all that is left to Kafka, exit 0. */
export function endOnSigterm(close) {
  process.once('SIGTERM', () => {
    void close().then(() => process.exit(0));
  });
}
