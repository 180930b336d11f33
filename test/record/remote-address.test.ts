// How a client's address is spelled in records: IPv4 plain, IPv6 in brackets, an IPv4 client of a
// dual-stack socket as the IPv4 client it is.

import { expect, test } from 'bun:test';
import { formatAddress, type RemoteAddress } from '../../src/record/remote-address.ts';

const SPELLED: readonly [RemoteAddress, string][] = [
  [{ address: '203.0.113.7', port: 51_234, family: 'IPv4' }, '203.0.113.7:51234'],
  [{ address: '127.0.0.1', port: 0, family: 'IPv4' }, '127.0.0.1:0'],
  [{ address: '2001:db8::7', port: 51_234, family: 'IPv6' }, '[2001:db8::7]:51234'],
  [{ address: '::1', port: 80, family: 'IPv6' }, '[::1]:80'],
  [{ address: '::ffff:203.0.113.7', port: 80, family: 'IPv6' }, '203.0.113.7:80'],
  [{ address: '::ff', port: 80, family: 'IPv6' }, '[::ff]:80'],
  [{ address: '', port: 0, family: 'IPv4' }, ''],
  [{ address: '', port: 0, family: 'IPv6' }, ''],
];

for (const [remote, text] of SPELLED) {
  test(`${remote.family} "${remote.address}" port ${remote.port} is "${text}"`, () => {
    expect(formatAddress(remote)).toBe(text);
  });
}
