// bare, and one thing more that whoever logs clients must do: ask who the client is. What hoplog costs
// beyond this is its own doing.

const redirect = { status: 301, headers: new Headers({ Location: 'http://google.com' }) };

Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.env.PORT),
  fetch(request, server) {
    const client = server.requestIP(request);
    if (client === null) throw new Error('a request without a client');
    return new Response(null, redirect);
  },
});
