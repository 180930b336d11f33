// The floor every other variant is measured against: a redirect by Bun.serve and nothing else.
//
// Contract of a variant: listens on 127.0.0.1:PORT, answers every request 301 with
// `Location: http://google.com`, puts one record per request into KAFKA_TOPIC (this one does not),
// ends on SIGTERM after flushing. One init is shared, the Response is new each time: Bun sends the
// same Response without its Location the second time. Headers are cheaper to copy than to read.

const init = { status: 301, headers: new Headers({ Location: 'http://google.com' }) };

Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.env.PORT),
  reusePort: true,
  fetch: () => new Response(null, init),
});
