// The record of the Go server hoplog began as: exactly three fields, two of them fixed; and its fast
// JSON, written byte by byte, is for every address what JSON.stringify makes of the record.

import { expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { encoderFor } from '../../src/record/encode.ts';
import type { RemoteAddress } from '../../src/record/remote-address.ts';
import { seed } from '../../src/record/seed.ts';
import { readRecords, writeRecord } from '../../src/record-batch.ts';
import { runs } from '../support/properties.ts';
import { contextOf, REMOTE, requestTo } from '../support/requests.ts';

const encode = encoderFor(seed, 'json');

/** What is in the batch: the fast JSON writes itself there. */
function journalled(remote: RemoteAddress): string {
  const target = Buffer.alloc(400, 0xaa);
  const end = writeRecord(target, 3, target.length, 0, 0, encode(remote));
  const [record] = [...readRecords(target, 3, end)];
  return Buffer.from(record!.value).toString();
}

test('the record has exactly the three fields, in the order of the Go struct', () => {
  const captured = seed.capture(requestTo(), contextOf());
  const record = seed.complete(captured);
  expect(record).toEqual({
    runtime_param: 'runtimeDataString',
    async_param: 'asyncDataString',
    remote_address: '203.0.113.7:51234',
  });
  expect(journalled(captured)).toBe(
    '{"runtime_param":"runtimeDataString","async_param":"asyncDataString",' +
      '"remote_address":"203.0.113.7:51234"}',
  );
});

test('nothing of the request is looked at but the address', () => {
  const request = new Proxy(requestTo(), { get: () => expect.unreachable() });
  expect(seed.capture(request, contextOf())).toEqual(REMOTE);
});

const REMOTES: readonly RemoteAddress[] = [
  ...[0, 1, 9, 10, 99, 100, 999, 1000, 9999, 10_000, 65_535].map((port) => ({ ...REMOTE, port })),
  { address: '0.0.0.0', port: 1, family: 'IPv4' },
  { address: '2001:db8::7', port: 443, family: 'IPv6' },
  { address: '::ffff:203.0.113.7', port: 443, family: 'IPv6' },
  { address: 'fe80::1%eth0', port: 443, family: 'IPv6' },
  { address: '', port: 0, family: 'IPv4' },
];
for (const remote of REMOTES) {
  test(`the fast JSON of ${remote.address} port ${remote.port} is JSON.stringify's`, () => {
    expect(journalled(remote)).toBe(JSON.stringify(seed.complete(remote)));
  });
}

test('the fast JSON of any client is JSON.stringify’s', () => {
  const ports = fc.integer({ min: 0, max: 65_535 });
  const remotes = fc.oneof(
    fc.record({ address: fc.ipV4(), port: ports, family: fc.constant('IPv4' as const) }),
    fc.record({ address: fc.ipV6(), port: ports, family: fc.constant('IPv6' as const) }),
  );
  fc.assert(
    fc.property(fc.array(remotes, { minLength: 1, maxLength: 5 }), (clients) => {
      for (const remote of clients) {
        expect(journalled(remote)).toBe(JSON.stringify(seed.complete(remote)));
      }
    }),
    runs(300),
  );
});

test('a record that does not fit is refused before a byte is written', () => {
  const target = Buffer.alloc(100, 0xaa);
  expect(writeRecord(target, 0, target.length, 0, 0, encode(REMOTE))).toBe(-1);
  expect(target.every((byte) => byte === 0xaa)).toBe(true);
});
