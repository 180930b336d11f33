// The log as most people would write it: requestIP, an array, JSON.stringify, kafkajs's producer
// once a second or at recordsMax. It is here to be beaten, so it is written fairly: sends overlap,
// nothing blocks the handler, acks are `all` as for everyone, SIGTERM drains and flushes.
// What it cannot do: survive SIGKILL, or keep a batch that kafkajs gave up on.

import { Kafka, logLevel, Partitioners, type Message } from 'kafkajs';

// kafkajs puts all messages of one send into one batch: 5,000 records of about 120 bytes stay well
// below the broker's default message.max.bytes of 1 MiB, 10,000 would be refused.
const recordsMax = 5_000;
const lingerMs = 1_000;

const topic = process.env.KAFKA_TOPIC ?? 'log';
const init = { status: 301, headers: { Location: 'http://google.com' } };

const kafka = new Kafka({
  clientId: 'naive-kafkajs',
  brokers: (process.env.KAFKA_BROKERS ?? '').split(','),
  logLevel: logLevel.ERROR,
});
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
await producer.connect();

let messages: Message[] = [];
const sends = new Set<Promise<void>>();

function flush(): void {
  if (messages.length === 0) return;
  const batch = messages;
  messages = [];
  const send = producer
    .send({ topic, acks: -1, messages: batch })
    .then(
      () => undefined,
      (error: unknown) => console.error(`lost ${batch.length} records:`, error),
    )
    .finally(() => sends.delete(send));
  sends.add(send);
}

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.env.PORT),
  fetch(request, server) {
    const ip = server.requestIP(request);
    const value = JSON.stringify({
      runtime_param: 'runtimeDataString',
      async_param: 'asyncDataString',
      remote_address: `${ip?.address}:${ip?.port}`,
    });
    messages.push({ value });
    if (messages.length >= recordsMax) flush();
    return new Response(null, init);
  },
});
const timer = setInterval(flush, lingerMs);

process.once('SIGTERM', () => {
  void (async () => {
    clearInterval(timer);
    await server.stop(true);
    flush();
    await Promise.all(sends);
    await producer.disconnect();
    process.exit(0);
  })();
});
