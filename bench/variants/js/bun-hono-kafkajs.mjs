// hono on Bun and kafkajs: the router most Bun programs have.

import { Hono } from 'hono';
import { endOnSigterm, openLog } from './kafkajs-log.mjs';

const log = await openLog();
const app = new Hono();
app.get('/', (context) => {
  const { address, port } = context.env.requestIP(context.req.raw);
  log.add(address, port);
  return context.redirect('http://google.com', 301);
});

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.env.PORT),
  fetch: (request, server) => app.fetch(request, server),
});

endOnSigterm(async () => {
  await server.stop(true);
  await log.close();
});
