// A server on a shared port, `bun listening-socket-fixture.ts PORT NAME`: answers with its name, and does
// what it is told over its channel.

import { ListeningSocket } from '../../src/http/listening-socket.ts';

const [port = '', name = ''] = process.argv.slice(2);
const server = Bun.serve({
  port: Number(port),
  hostname: '127.0.0.1',
  reusePort: true,
  fetch: () => new Response(name),
});
const socket = new ListeningSocket(Number(server.port));

process.on('message', (question: 'takeAll' | 'share' | 'close' | 'counts') => {
  if (question !== 'counts') socket[question]();
  process.send?.({ queued: socket.queued, connections: socket.connections });
});
process.on('disconnect', () => process.exit());
process.send?.({ port: server.port });
