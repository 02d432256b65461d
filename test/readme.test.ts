import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from './support/test.js';

const root = new URL('../', import.meta.url);
const readme = readFileSync(new URL('README.md', root), 'utf8');
const snippets: { title: string; code: string }[] = [];
let title = 'the program at the top';
for (const [, heading, code] of readme.matchAll(/^##+ (.+)$|^```ts\n([\s\S]+?)^```/gm)) {
  title = heading ?? title;
  if (code !== undefined) {
    snippets.push({ title, code });
  }
}
const IMPORTS = /^(import .+\n)+/.exec(snippets[0]?.code ?? '')?.[0] ?? '';

describe('README', () => {
  test('shows a complete program within its first 30 lines', () => {
    const before = readme.slice(0, readme.indexOf('// →')).split('\n').length;
    expect(before).toBeLessThanOrEqual(30);
  });

  test.for(snippets)('$title: the example prints what it says', async ({ code }, { bench }) => {
    const connection = JSON.stringify(bench.connection);
    const program = (code.startsWith(IMPORTS) ? code : `${IMPORTS}const connection = ${connection};\n${code}`)
      .replace("{ host: 'localhost', port: 6379 }", connection)
      .replaceAll('{ connection', `{ prefix: '${bench.prefix}', connection`)
      .replace('listen(3000', 'listen(0');
    for (const [, queue = ''] of program.matchAll(/new (?:Queue|Worker)\('(\w+)'/g)) {
      bench.owns(queue);
    }
    // Inside of the package, where its own name leads to what was built: the examples use what users get.
    const file = fileURLToPath(new URL(`dist/${bench.prefix}.mts`, root));
    writeFileSync(file, program);
    const child = spawn(process.execPath, ['--import', 'tsx', file], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const expected = [...code.matchAll(/^\/\/ → (.+)$/gm)].map(([, line]) => line);
    const printed: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      printed.push(line);
      if (printed.length === expected.length) {
        break;
      }
    }
    child.kill('SIGTERM');
    await once(child, 'exit');
    rmSync(file);
    expect(expected.length).toBeGreaterThan(0);
    expect(printed).toEqual(expected);
  });
});
