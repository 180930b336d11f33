// The record of the Go server hoplog began as: exactly three fields, two of them fixed.

import type { ValueWriter } from '../record-batch.ts';
import { formatAddress, type RemoteAddress } from './remote-address.ts';
import type { RecordKind } from './record-kind.ts';

const RUNTIME_PARAM = 'runtimeDataString';
const ASYNC_PARAM = 'asyncDataString';
const HEAD = Buffer.from(
  `{"runtime_param":"${RUNTIME_PARAM}","async_param":"${ASYNC_PARAM}","remote_address":"`,
);
const QUOTE = 0x22;
const COLON = 0x3a;
const CLOSING_BRACE = 0x7d;
const DIGIT_ZERO = 0x30;

/**
 * The record as JSON, byte by byte: an IPv4 address and a port need no escaping. Texts made of parts
 * are ropes to the engine, and flattening one cost more than all of this (bench/micro).
 */
class SeedJson implements ValueWriter {
  byteLength = 0;
  #address = '';
  #port = 0;
  #portDigits = 1;

  of(address: string, port: number): this {
    this.#address = address;
    this.#port = port;
    this.#portDigits = port < 10 ? 1 : port < 100 ? 2 : port < 1000 ? 3 : port < 10_000 ? 4 : 5;
    this.byteLength = HEAD.length + address.length + 1 + this.#portDigits + 2;
    return this;
  }

  writeTo(target: Uint8Array, position: number): void {
    const address = this.#address;
    target.set(HEAD, position);
    let at = position + HEAD.length;
    for (let index = 0; index < address.length; index++) target[at++] = address.charCodeAt(index);
    target[at++] = COLON;
    let rest = this.#port;
    for (let digit = at + this.#portDigits - 1; digit >= at; digit--) {
      target[digit] = DIGIT_ZERO + (rest % 10);
      rest = (rest / 10) | 0;
    }
    at += this.#portDigits;
    target[at++] = QUOTE;
    target[at] = CLOSING_BRACE;
  }
}

/** One for all: it is written before the next record is completed. */
const json = new SeedJson();

function complete(remote: RemoteAddress) {
  return {
    runtime_param: RUNTIME_PARAM,
    async_param: ASYNC_PARAM,
    remote_address: formatAddress(remote),
  };
}

export const seed: RecordKind<RemoteAddress> = {
  capture: (_request, context) => context.remote,
  complete,
  completeJson: (remote) =>
    remote.family === 'IPv4' && remote.address !== ''
      ? json.of(remote.address, remote.port)
      : JSON.stringify(complete(remote)),
};
