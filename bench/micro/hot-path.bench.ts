// Each step between a handled request and its journalled record alone, and the ways not taken: the
// source of the nanoseconds that comments in src/ quote. `bun run bench/micro/hot-path.bench.ts`

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bench, do_not_optimize, group, run } from 'mitata';
import { crc32c, foldWords, HASH_SEED } from '../../src/bytes.ts';
import { Journal } from '../../src/journal/journal.ts';
import { encoderFor } from '../../src/record/encode.ts';
import { click } from '../../src/record/click.ts';
import { seed } from '../../src/record/seed.ts';

const directory = mkdtempSync(join(tmpdir(), 'hoplog-micro-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

const remote = { address: '127.0.0.1', port: 54_321, family: 'IPv4' } as const;
const HEAD =
  '{"runtime_param":"runtimeDataString","async_param":"asyncDataString","remote_address":"';
const target = Buffer.alloc(2 ** 20);
const words = new Int32Array(target.buffer, target.byteOffset, target.length / 4);
const encoder = new TextEncoder();
const direct = target as Buffer & {
  utf8Write(text: string, offset: number, length: number): number;
};
const text = (): string => `${HEAD}${remote.address}:${remote.port}"}`;

/** As a browser sends them, each with texts of its own: what is asked twice would be in a cache. */
const clicks = Array.from({ length: 4096 }, (_, number) => ({
  id: fresh(`0123456789abcdef-${number}`),
  time: 1_700_000_000_000 + (number >> 6),
  method: 'GET',
  host: fresh('links.example:8080'),
  url: fresh(`http://links.example:8080/a/link?number=${number}&source=mail`),
  status: 301,
  location: 'http://google.com',
  remote_address: fresh(`127.0.0.1:${20_000 + number}`),
  user_agent: fresh(
    'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
  ),
  referer: fresh('https://www.example.com/a/page/with/a/link?from=somewhere'),
  outcome: 'default',
}));
let clickNumber = 0;

/** A text that the engine has never seen. */
function fresh(content: string): string {
  return Buffer.from(content).toString('latin1');
}

function nextClick() {
  clickNumber = (clickNumber + 1) & 4095;
  return clicks[clickNumber]!;
}

group('a record of 105 bytes into its place', () => {
  bench('Buffer.write', () => target.write(text(), 64));
  bench('TextEncoder.encodeInto', () => encoder.encodeInto(text(), target.subarray(64, 512)));
  bench('utf8Write', () => direct.utf8Write(text(), 64, 512));
  bench('seed writes itself', () => {
    const value = seed.completeJson?.(remote);
    if (typeof value === 'object' && 'writeTo' in value) value.writeTo(target, 64);
  });
});

group('the seed record as a value', () => {
  bench('JSON.stringify', () => do_not_optimize(JSON.stringify(seed.complete(remote))));
  bench('completeJson', () => do_not_optimize(seed.completeJson?.(remote)));
});

group('the click record as a value', () => {
  const asJson = encoderFor(click, 'json');
  const asMsgpack = encoderFor(click, 'msgpack');
  bench('complete', () => do_not_optimize(click.complete(nextClick())));
  bench('JSON', () => do_not_optimize(asJson(nextClick())));
  bench('msgpack', () => do_not_optimize(asMsgpack(nextClick())));
});

group('checksums', () => {
  const record = target.subarray(64, 176);
  bench('crc32c of a record', () => do_not_optimize(crc32c(record)));
  bench('crc32c of 1 MB', () => do_not_optimize(crc32c(target)));
  bench('foldWords of a record', () => do_not_optimize(foldWords(HASH_SEED, words, 16, 44)));
  bench('foldWords of 1 MB', () => do_not_optimize(foldWords(HASH_SEED, words, 0, words.length)));
});

group('the whole step', () => {
  const encode = encoderFor(seed, 'json');
  const journal = new Journal({
    directory,
    journalBytes: 2 ** 30,
    batchBytes: 1_000_000,
    syncMs: 1000,
    recycleOldest: true,
    onError: (action, error) => {
      throw new Error(action, { cause: error });
    },
  });
  bench('encode and append', () =>
    do_not_optimize(journal.append(encode(remote), 1_700_000_000_000)));
});

await run();
process.exit(0);
