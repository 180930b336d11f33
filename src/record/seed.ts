// The record of the Go server hoplog began as: exactly three fields, two of them fixed.

import type { RecordKind } from './record-kind.ts';

const RUNTIME_PARAM = 'runtimeDataString';
const ASYNC_PARAM = 'asyncDataString';
const JSON_HEAD = `{"runtime_param":"${RUNTIME_PARAM}","async_param":"${ASYNC_PARAM}","remote_address":"`;

export const seed: RecordKind<string> = {
  capture: (_request, context) => context.remoteAddress,
  complete: (remoteAddress) => ({
    runtime_param: RUNTIME_PARAM,
    async_param: ASYNC_PARAM,
    remote_address: remoteAddress,
  }),
  // An address and a port need no escaping. 0.03 µs against JSON.stringify's 0.14 (bench/micro).
  completeJson: (remoteAddress) => `${JSON_HEAD}${remoteAddress}"}`,
};
