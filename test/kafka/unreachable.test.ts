// What a failure to reach a broker says of the request: whether it may have arrived, and whether it is
// worth trying again soon.

import { expect, test } from 'bun:test';
import { AuthenticationFailed, BrokerUnreachable } from '../../src/kafka/unreachable.ts';

test('a request that was sent may have arrived, one that was not has not', () => {
  expect(new BrokerUnreachable('gone', true).verdict).toMatchObject({
    action: 'new leader',
    persistence: 'unknown',
  });
  expect(new BrokerUnreachable('gone', false).verdict).toMatchObject({
    action: 'new leader',
    persistence: 'not persisted',
  });
});

test('refused credentials are for a human: held, nothing was sent', () => {
  const refused = new AuthenticationFailed('who are you?');
  expect(refused).toBeInstanceOf(BrokerUnreachable);
  expect(refused.verdict).toMatchObject({
    name: 'SASL_AUTHENTICATION_FAILED',
    action: 'hold',
    persistence: 'not persisted',
  });
});
