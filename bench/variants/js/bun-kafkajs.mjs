// Bun.serve and kafkajs: the log as most people would write it in Bun. Here to be beaten, so written
// fairly.

import { endOnSigterm, openLog } from './kafkajs-log.mjs';

const log = await openLog();
const init = { status: 301, headers: { Location: 'http://google.com' } };

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.env.PORT),
  fetch(request, server) {
    const { address, port } = server.requestIP(request);
    log.add(address, port);
    return new Response(null, init);
  },
});

endOnSigterm(async () => {
  await server.stop(true);
  await log.close();
});
