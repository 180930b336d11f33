// A port for a listener that ends and comes back: below the range from which the kernel takes the local
// ports of outgoing connections (32768 on Linux, 49152 elsewhere), so that it is still free afterwards,
// and a client that tries to reach it meanwhile is not by chance connected to itself.

import { createServer } from 'node:net';
import { randomInt } from 'node:crypto';

const PORT_MIN = 20_000;
const PORT_MAX = 32_000;

export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORT_MIN, PORT_MAX);
    if (await isFree(port)) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const server = createServer();
  server.on('error', () => resolve(false));
  server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  return await promise;
}
