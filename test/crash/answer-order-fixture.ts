// A server that kills itself behind its handler: in a microtask or in setImmediate, as its argument
// says. Prints its port. The microtask is where hoplog appends (src/record/batcher.ts).

const [when] = process.argv.slice(2);

function killMyself(): void {
  process.kill(process.pid, 'SIGKILL');
}

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch: () => {
    if (when === 'microtask') queueMicrotask(killMyself);
    else setImmediate(killMyself);
    return new Response(null, { status: 301, headers: { Location: 'http://google.com' } });
  },
});
process.stdout.write(`${server.port}\n`);
