// fastify and @platformatic/kafka, the current pair in Node. Its producer sends what it is given at once,
// so the array and the timer are ours, as with kafkajs.

import { Producer, ProduceAcks, stringSerializers } from '@platformatic/kafka';
import fastify from 'fastify';
import { endOnSigterm, recordOf } from './kafkajs-log.mjs';

const recordsMax = 5_000;
const lingerMs = 1_000;
const topic = process.env.KAFKA_TOPIC ?? 'log';

const producer = new Producer({
  clientId: 'bench',
  bootstrapBrokers: (process.env.KAFKA_BROKERS ?? '').split(','),
  serializers: stringSerializers,
});
let messages = [];
const sends = new Set();
function flush() {
  if (messages.length === 0) return;
  const batch = messages;
  messages = [];
  const send = producer
    .send({ messages: batch, acks: ProduceAcks.ALL })
    .catch((error) => console.error(`lost ${batch.length} records:`, error))
    .finally(() => sends.delete(send));
  sends.add(send);
}
const timer = setInterval(flush, lingerMs);

const app = fastify({ forceCloseConnections: true });
app.get('/', (request, reply) => {
  const { remoteAddress, remotePort } = request.socket;
  messages.push({ topic, value: recordOf(remoteAddress, remotePort) });
  if (messages.length >= recordsMax) flush();
  return reply.code(301).header('Location', 'http://google.com').send();
});
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });

endOnSigterm(async () => {
  clearInterval(timer);
  await app.close();
  flush();
  await Promise.all(sends);
  await producer.close();
});
