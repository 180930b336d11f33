// The rules of this repository that no linter has: who may import whom, where environment, kafkajs and
// waiting are allowed, that each file is on the map and has its test, and that what the READMEs say
// (options, commands, links) is so. Reads files only; names the offenders.

import { describe, expect, test } from 'bun:test';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, posix } from 'node:path';
import { configReference } from '../src/config.ts';

const ROOT = join(import.meta.dir, '..');
const SRC_LINES_MAX = 400;
const HEAD_LINES = { min: 2, max: 8 };

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

function filesOf(pattern: string): string[] {
  return [...new Bun.Glob(pattern).scanSync({ cwd: ROOT })].toSorted();
}

/** Code alone, so that a comment may name what code must not. Good enough for code that oxfmt wrote. */
function codeOf(path: string): string {
  return read(path)
    .replaceAll(/\/\*[\s\S]*?\*\//g, '')
    .replaceAll(/(^|\s)\/\/.*$/gm, '$1');
}

/** What a file imports, statically or not: module names, and paths from the root. */
function importsOf(path: string): string[] {
  const names = codeOf(path).matchAll(/\b(?:from|import|import\()\s*['"]([^'"]+)['"]/g);
  return [...names].map(([, name = '']) =>
    name.startsWith('.') ? normalize(join(dirname(path), name)) : name,
  );
}

/** Files of `pattern` for which `isOffending` is true. */
function offenders(pattern: string, isOffending: (path: string) => boolean): string[] {
  return filesOf(pattern).filter(isOffending);
}

const SRC = filesOf('src/**/*.ts');

test('the rules below look at something', () => {
  expect(SRC.length).toBeGreaterThan(25);
  expect(filesOf('test/**/*.test.ts').length).toBeGreaterThan(20);
  expect(importsOf('src/service.ts')).toContain('src/kafka/delivery.ts');
  expect(importsOf('src/kafka/cluster.ts')).toContain('kafkajs/src/broker/index.js');
  expect(importsOf('src/exposition.ts')).toContain('prom-client');
});

describe('imports go http → record → journal ← kafka', () => {
  /** Folder of src → folders it may import from; 'base' = the files directly in src. */
  const ALLOWED: Readonly<Record<string, readonly string[]>> = {
    base: ['base'],
    http: ['http', 'record', 'journal', 'base'],
    record: ['record', 'journal', 'base'],
    journal: ['journal', 'base'],
    kafka: ['kafka', 'journal', 'base'],
    workers: ['workers', 'src/service.ts', 'http', 'journal', 'kafka', 'base'],
    tools: ['tools', 'record', 'journal', 'kafka', 'base'],
  };

  function folderOf(path: string): string {
    const [, folder = '', file] = path.split('/');
    return file === undefined ? 'base' : folder;
  }

  test('each folder of src has its rule', () => {
    expect([...new Set(SRC.map(folderOf))].toSorted()).toEqual(Object.keys(ALLOWED).toSorted());
  });

  const SEES_ALL = ['src/server.ts', 'src/service.ts'];

  for (const path of SRC.filter((file) => !SEES_ALL.includes(file))) {
    test(`${path} imports its neighbours only`, () => {
      const folders = importsOf(path)
        .filter((name) => name.startsWith('src/') || name.startsWith('test/'))
        .map((name) => (SEES_ALL.includes(name) ? name : folderOf(name)));
      const allowed = ALLOWED[folderOf(path)] ?? [];
      expect(folders.filter((folder) => !allowed.includes(folder))).toEqual([]);
    });
  }

  test('nobody imports server.ts, and src nothing of test, bench or examples', () => {
    const foreign = /^(?:src\/server\.ts|(?:test|bench|examples)\/)/;
    const bad = offenders('src/**/*.ts', (path) =>
      importsOf(path).some((name) => foreign.test(name)),
    );
    expect(bad).toEqual([]);
  });

  test('kafkajs is known to kafka/cluster.ts alone', () => {
    const knowing = offenders('src/**/*.ts', (path) => /['"]kafkajs\b/.test(codeOf(path)));
    expect(knowing).toEqual(['src/kafka/cluster.ts', 'src/kafka/kafkajs-internals.d.ts']);
  });
});

describe('src', () => {
  test('process.env is read in config.ts only', () => {
    const environment = /\b(?:process|Bun|import\.meta)\.env\b/;
    expect(offenders('src/**/*.ts', (path) => environment.test(codeOf(path)))).toEqual([
      'src/config.ts',
    ]);
  });

  for (const path of ['src/record/batcher.ts', 'src/http/redirect.ts']) {
    test(`${path}, on the way of every request, waits for nothing`, () => {
      expect(codeOf(path)).not.toMatch(/\basync\b|\bawait\b|\.then\(|\bPromise\b/);
    });
  }

  test(`no file is longer than ${SRC_LINES_MAX} lines`, () => {
    const long = offenders(
      'src/**/*.ts',
      (path) => read(path).split('\n').length > SRC_LINES_MAX + 1,
    );
    expect(long).toEqual([]);
  });

  test('each file opens with a comment', () => {
    expect(offenders('src/**/*.ts', (path) => !read(path).startsWith('// '))).toEqual([]);
  });

  describe('the map in src/README.md', () => {
    const rows = [...read('src/README.md').matchAll(/^\| ([\w./-]+\.ts) \|/gm)];
    const mapped = rows.map(([, name = '']) => `src/${name}`);

    test('has each file, once', () => {
      expect(mapped.toSorted()).toEqual(SRC);
    });
  });
});

describe('tests', () => {
  /** Files of src that no file of the same name under test/ is about, and why not. */
  const WITHOUT: Readonly<Record<string, string>> = {
    'src/server.ts': 'is the program: test/real, test/crash and test/faults start it',
    'src/service.ts': 'is the program, too',
    'src/workers/messages.ts': 'types only',
    'src/workers/supervisor.ts': 'is the program of several workers: test/faults starts it',
    'src/workers/worker.ts': 'is one of them',
    'src/workers/worker-process.ts': 'is how the supervisor sees it',
    'src/kafka/kafkajs-internals.d.ts': 'types only',
    'src/record/record-kind.ts': 'types only',
    'src/tools/tail.ts': 'is a command: test/real and test/property read its output',
  };

  function testOf(path: string): string {
    const mirrored = path.replace(/^src\//, '').replace(/\.ts$/, '.test.ts');
    return posix.join('test', mirrored.includes('/') ? mirrored : `base/${mirrored}`);
  }

  for (const path of SRC.filter((file) => !(file in WITHOUT))) {
    test(`${path} has ${testOf(path)}`, () => {
      expect(existsSync(join(ROOT, testOf(path)))).toBe(true);
    });
  }

  test('the exceptions are files that have none', () => {
    for (const path of Object.keys(WITHOUT)) {
      expect(SRC).toContain(path);
      expect(existsSync(join(ROOT, testOf(path)))).toBe(false);
    }
  });

  test('wait for conditions: only wait-for.ts sleeps', () => {
    const sleep = /\bBun\.sleep(?:Sync)?\(|timers\/promises|setTimeout\(\s*(?:resolve|done)\b/;
    const sleeping = offenders('test/**/*.ts', (path) => sleep.test(codeOf(path)));
    expect(sleeping.filter((path) => path !== 'test/tidy.test.ts')).toEqual([
      'test/support/wait-for.ts',
    ]);
  });

  test('each test file opens with a few lines on what it proves', () => {
    const bad = offenders('test/**/*.test.ts', (path) => {
      const lines = read(path).split('\n');
      const head = lines.findIndex((line) => !line.startsWith('//'));
      return head < HEAD_LINES.min || head > HEAD_LINES.max;
    });
    expect(bad).toEqual([]);
  });

  test('none is left out, alone or unfinished', () => {
    const unfinished = /\b(?:test|describe|it)\.(?:only|todo|failing)\b/;
    expect(offenders('test/**/*.test.ts', (path) => unfinished.test(codeOf(path)))).toEqual([]);
  });
});

describe('everywhere', () => {
  const EVERYWHERE = '{src,test,bench,examples}/**/*.ts';

  test('what is to be done has an issue number', () => {
    const bad = offenders(EVERYWHERE, (path) => {
      if (path === 'test/tidy.test.ts') return false;
      return /\b(?:TODO|FIXME|HACK)\b(?! ?\(?#\d)/.test(read(path));
    });
    expect(bad).toEqual([]);
  });

  test('git ignores no source', () => {
    const command = ['git', 'ls-files', '--others', '--ignored', '--exclude-standard'];
    const folders = ['src', 'test', 'bench', 'examples'];
    const { exitCode, stdout } = Bun.spawnSync([...command, '--', ...folders], { cwd: ROOT });
    // A copy without its repository (a package, an archive) has nothing to ask.
    if (exitCode === 0) expect(stdout.toString()).toBe('');
  });
});

describe('documentation', () => {
  const DOCUMENTS = [...filesOf('*.md'), ...filesOf('{src,test,bench,examples}/*.md')];

  test('is looked at', () => {
    expect(DOCUMENTS).toContain('README.md');
    expect(DOCUMENTS).toContain('src/README.md');
  });

  test('the option table of README.md is what `help` prints', () => {
    const printed = /<!-- printed by: [^>]* -->\n([\s\S]*?)\n<!-- end -->/.exec(read('README.md'));
    expect(printed?.[1]).toBe(configReference());
  });

  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };

  for (const document of DOCUMENTS) {
    test(`${document}: the commands exist`, () => {
      const commands = read(document).matchAll(/\b(npm|bun) run((?: --?[\w-]+)*) ([\w./-]+)/g);
      for (const [command, , , name = ''] of commands) {
        const known = name in scripts || existsSync(join(ROOT, name));
        expect(known ? '' : `"${command}" in ${document}`).toBe('');
      }
      for (const [, name = ''] of read(document).matchAll(/\bnpm (start|test)\b/g)) {
        expect(Object.keys(scripts)).toContain(name);
      }
    });

    test(`${document}: the links lead somewhere`, () => {
      const links = read(document).matchAll(/\]\((?!https?:)([^)#]+)/g);
      const dead = [...links]
        .map(([, link = '']) => link)
        .filter((link) => !existsSync(join(ROOT, dirname(document), link)));
      expect(dead).toEqual([]);
    });

    test(`${document}: the files that it names exist`, () => {
      const names = read(document).matchAll(
        /(?<![\w./-])((?:src|test|bench|examples)\/[\w./-]+\.\w+)/g,
      );
      const dead = [...names]
        .map(([, name = '']) => name)
        .filter((name) => !existsSync(join(ROOT, name)));
      expect(dead).toEqual([]);
    });
  }

  test('the tests that the table of faults names exist', () => {
    const table = read('test/README.md').split('## Faults')[1] ?? '';
    const rows = [...table.matchAll(/^\| \*\*[\d–, ]*\*\* .* \| ([^|]+) \|$/gm)];
    expect(rows.length).toBeGreaterThan(70);
    const named = rows.flatMap(([, names = '']) => names.match(/[a-z]+\/[a-z0-9-]+/g) ?? ['none']);
    const dead = named.filter((name) => !existsSync(join(ROOT, 'test', `${name}.test.ts`)));
    expect(dead).toEqual([]);
  });

  test('files that comments name exist', () => {
    const dead = filesOf('{src,test,bench,examples}/**/*.ts').flatMap((path) => {
      const comments = read(path)
        .split('\n')
        .filter((line) => /^\s*(?:\/\/|\/?\*)/.test(line))
        .join('\n');
      const names = comments.matchAll(/(?<![\w./-])((?:src|test|bench|examples)\/[\w./-]+\.\w+)/g);
      return [...names]
        .map(([, name = '']) => name)
        .filter((name) => !existsSync(join(ROOT, name)))
        .map((name) => `${name} in ${path}`);
    });
    expect(dead).toEqual([]);
  });
});
