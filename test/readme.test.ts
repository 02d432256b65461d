import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { transform } from 'esbuild';
import { type Page, pages, readPage } from './support/pages.js';
import { describe, expect, type Testbed, test } from './support/test.js';

/*
 * Runs the ```ts examples of README.md and docs/*.md, each in a process of its own with a prefix of its own, against
 * the package as it was built. An example says what it prints in lines that begin with "// → ".
 */

const root = new URL('../', import.meta.url);

/** Inside of the package, where its own name leads to what was built: the examples use what users get. */
const fileInside = (name: string) => fileURLToPath(new URL(`dist/${name}`, root));

interface Snippet {
  readonly title: string;
  readonly code: string;
}

function snippetsOf({ path, text }: Page): Snippet[] {
  const snippets: Snippet[] = [];
  let title = '';
  for (const [, heading, code] of text.matchAll(/^#+ (.+)$|^```ts\n([\s\S]+?)^```/gm)) {
    title = heading ?? title;
    if (code !== undefined) {
      snippets.push({ title: `${path}, ${title}`, code });
    }
  }
  return snippets;
}

/** The lines that docs/README.md says are above each example, but for what the example brings itself. */
function preamble(code: string): string {
  const missing = (names: string[], from: string) => {
    const wanted = names.filter((name) => !new RegExp(`^import .*\\b${name}\\b`, 'm').test(code));
    return wanted.length === 0 ? '' : `import { ${wanted.join(', ')} } from '${from}';\n`;
  };
  return (
    missing(['Queue', 'Worker'], 'bullmq') +
    missing(['BatchWorker', 'withBatches'], 'bullmq-batches') +
    (/^const connection =/m.test(code) ? '' : "const connection = { host: 'localhost', port: 6379 };\n")
  );
}

/** The example as a program that keeps to the test's Redis and prefix. */
function programOf(code: string, { connection, prefix }: Testbed): string {
  return (preamble(code) + code)
    .replace("{ host: 'localhost', port: 6379 }", JSON.stringify(connection))
    .replaceAll(/\{(\s+)connection\b/g, `{$1prefix: '${prefix}', connection`)
    .replace('listen(3000', 'listen(0');
}

/** Runs the program until it has printed so many lines, and returns them. */
async function linesOf(program: string, count: number, testbed: Testbed): Promise<string[]> {
  const file = fileInside(`${testbed.prefix}.mjs`);
  // Nest's decorators are those of TypeScript before there was a standard.
  const tsconfigRaw = { compilerOptions: { experimentalDecorators: true } };
  writeFileSync(file, (await transform(program, { loader: 'ts', tsconfigRaw })).code);
  const child = spawn(process.execPath, [file], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  testbed.use({
    async close() {
      child.kill('SIGKILL');
      await exit;
      rmSync(file, { force: true });
    },
  });
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (lines.length === count) {
      break;
    }
  }
  return lines;
}

test('README shows a complete program within its first 30 lines', () => {
  const readme = readPage('README.md');
  const before = readme.slice(0, readme.indexOf('// →')).split('\n').length;
  expect(before).toBeLessThanOrEqual(30);
});

const snippets = pages().flatMap(snippetsOf);

test('the examples compile under the strict options of this repository', async ({ testbed }) => {
  const folder = fileInside(testbed.prefix);
  testbed.use({ close: async () => rmSync(folder, { recursive: true }) });
  mkdirSync(folder);
  for (const [i, { code }] of snippets.entries()) {
    writeFileSync(`${folder}/example-${i + 1}.mts`, preamble(code) + code);
  }
  const tsconfig = {
    extends: '../../tsconfig.json',
    // An example may name what its last line does not use.
    compilerOptions: { noUnusedLocals: false },
    include: ['*.mts'],
  };
  writeFileSync(`${folder}/tsconfig.json`, JSON.stringify(tsconfig));
  const compiled = promisify(execFile)('npx', ['tsc', '--project', folder], { cwd: fileURLToPath(root) });
  await expect(
    compiled.then(
      () => '',
      ({ stdout }) => stdout,
    ),
  ).resolves.toBe('');
});

describe('an example prints what it says', () => {
  test.for(snippets)('$title', async ({ code }, { testbed }) => {
    const expected = [...code.matchAll(/^\/\/ → (.+)$/gm)].map(([, line]) => line);
    expect(expected.length, 'An example has to say what it prints, or it cannot fail.').toBeGreaterThan(0);
    for (const [, queue = ''] of code.matchAll(/(?:new (?:Queue|Worker)|BatchesModule\.register)\('([\w-]+)'/g)) {
      testbed.owns(queue);
    }
    // The queue from which BatchWorkers run callbacks.
    testbed.owns('batch-callbacks');
    expect(await linesOf(programOf(code, testbed), expected.length, testbed)).toEqual(expected);
  });
});
