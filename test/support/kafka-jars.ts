// Kafka's jars, and how to run a class of them. Fetched once with Maven, by test/pom.xml, into the
// git-ignored .cache. Invariant: the cache directory exists only complete. Each fetch fills a
// directory of its own and renames it, so neither an aborted run nor two at once leave half of one.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const POM = join(import.meta.dir, '../pom.xml');
const CACHE = join(import.meta.dir, '../../.cache');
const JAVA_VERSION_MIN = 17; // what a Kafka 4 broker asks for

export const KAFKA_VERSION = pomVersion();

let unavailable: string | false | undefined;

/** Why real Kafka cannot run here; undefined = it can. */
export function kafkaUnavailable(): string | undefined {
  unavailable ??= findObstacle() ?? false;
  return unavailable === false ? undefined : unavailable;
}

function findObstacle(): string | undefined {
  if (Bun.which('java') === null) return `java is not installed (${JAVA_VERSION_MIN} or later)`;
  // Asked for its version, because macOS has a `java` that only says where to get one.
  const { stderr } = Bun.spawnSync(['java', '-version'], { stderr: 'pipe' });
  const version = /version "(\d+)/.exec(stderr.toString())?.[1];
  if (!version) return '`java -version` does not name a version';
  if (Number(version) < JAVA_VERSION_MIN) {
    return `java is version ${version}, Kafka ${KAFKA_VERSION} needs ${JAVA_VERSION_MIN}`;
  }
  if (existsSync(jarsDir())) return undefined;
  return Bun.which('mvn') === null ? 'mvn, which fetches Kafka, is not installed' : undefined;
}

/** The class path of broker and tools; fetches the jars when they are not here yet. */
export async function kafkaClassPath(): Promise<string> {
  if (!existsSync(jarsDir())) await fetchJars();
  return join(jarsDir(), '*');
}

function jarsDir(): string {
  return join(CACHE, `kafka-${KAFKA_VERSION}`, 'libs');
}

async function fetchJars(): Promise<void> {
  mkdirSync(CACHE, { recursive: true });
  const target = join(jarsDir(), '..');
  const own = mkdtempSync(`${target}-fetching-`);
  try {
    const goal = ['dependency:copy-dependencies', `-DoutputDirectory=${join(own, 'libs')}`];
    const maven = Bun.spawn(['mvn', '--quiet', '--batch-mode', '--file', POM, ...goal], {
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe',
    });
    const [output, complaints, exitCode] = await Promise.all([
      maven.stdout.text(),
      maven.stderr.text(),
      maven.exited,
    ]);
    if (exitCode !== 0) throw new Error(`mvn could not fetch Kafka: ${complaints}${output}`);
    renameSync(own, target);
  } catch (error) {
    // Another run was first, and is complete: a rename onto a directory that is not empty fails.
    if (!existsSync(jarsDir())) throw error;
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
}

/**
 * The command that runs `mainClass` of Kafka. On Linux the kernel ends it together with the process
 * that started it, however that ends: `bun test` runs no 'exit' handler, and SIGKILL none at all.
 * `setpriv` becomes the java process itself, so the pid is java's.
 */
export function javaCommand(
  classPath: string,
  mainClass: string,
  args: readonly string[],
  jvmOptions: readonly string[],
): string[] {
  const log4j = `-Dlog4j2.configurationFile=${join(import.meta.dir, 'log4j2.properties')}`;
  const leash = Bun.which('setpriv') === null ? [] : ['setpriv', '--pdeathsig', 'KILL'];
  return [...leash, 'java', ...jvmOptions, log4j, '-cp', classPath, mainClass, ...args];
}

/**
 * Runs one of Kafka's command-line tools to its end.
 * @returns its stdout; throws with its stderr when it fails.
 */
export async function runKafkaTool(mainClass: string, args: readonly string[]): Promise<string> {
  // Short-lived: the quick compiler alone starts it in 0.6 s.
  const jvmOptions = ['-XX:TieredStopAtLevel=1', '-Xmx256m'];
  const command = javaCommand(await kafkaClassPath(), mainClass, args, jvmOptions);
  const tool = Bun.spawn(command, { stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' });
  const [output, complaints, exitCode] = await Promise.all([
    tool.stdout.text(),
    tool.stderr.text(),
    tool.exited,
  ]);
  if (exitCode === 0) return output;
  throw new Error(`${mainClass} exited with ${exitCode}: ${complaints}${output}`);
}

function pomVersion(): string {
  const version = /<kafka\.version>(.+)<\/kafka\.version>/.exec(readFileSync(POM, 'utf8'))?.[1];
  if (!version) throw new Error(`no kafka.version in ${POM}`);
  return version;
}
