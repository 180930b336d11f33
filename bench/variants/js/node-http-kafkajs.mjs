// Node's own http server and kafkajs: what most people would write in Node.

import { createServer } from 'node:http';
import { endOnSigterm, openLog } from './kafkajs-log.mjs';

const log = await openLog();
// Without its length, writeHead sends the empty body in chunks.
const headers = { Location: 'http://google.com', 'Content-Length': 0 };

const server = createServer((request, response) => {
  const { remoteAddress, remotePort } = request.socket;
  response.writeHead(301, headers).end();
  log.add(remoteAddress, remotePort);
});
server.listen(Number(process.env.PORT), '127.0.0.1');

endOnSigterm(async () => {
  server.close();
  server.closeAllConnections();
  await log.close();
});
