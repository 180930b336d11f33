// Node's own http server and librdkafka (@confluentinc/kafka-javascript, its callback API): the fastest
// Kafka client Node has. A full queue is waited out by a poll, never dropped.

import { createServer } from 'node:http';
import confluent from '@confluentinc/kafka-javascript';
import { endOnSigterm, recordOf } from './kafkajs-log.mjs';

const topic = process.env.KAFKA_TOPIC ?? 'log';
const producer = new confluent.Producer({
  'bootstrap.servers': process.env.KAFKA_BROKERS,
  'linger.ms': 1_000,
  acks: 'all',
  'enable.idempotence': true,
  'queue.buffering.max.messages': 2_000_000,
});
producer.on('event.error', (error) => console.error(error));
await new Promise((resolve, reject) => {
  producer.once('ready', resolve);
  producer.connect({}, (error) => error && reject(error));
});

// Without its length, writeHead sends the empty body in chunks.
const headers = { Location: 'http://google.com', 'Content-Length': 0 };
const server = createServer((request, response) => {
  const { remoteAddress, remotePort } = request.socket;
  response.writeHead(301, headers).end();
  producer.produce(topic, null, Buffer.from(recordOf(remoteAddress, remotePort)));
});
server.listen(Number(process.env.PORT), '127.0.0.1');

endOnSigterm(async () => {
  server.close();
  server.closeAllConnections();
  await new Promise((resolve) => producer.flush(10_000, () => producer.disconnect(resolve)));
});
