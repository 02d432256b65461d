// Checks the tarball that would be published: publint and attw, and that both formats load and are the same API.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = mkdtempSync(join(tmpdir(), 'bullmq-batches-pack-'));
const run = (command, ...args) =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
try {
  const [{ filename }] = JSON.parse(
    run('npm', 'pack', '--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', folder),
  );
  const tarball = join(folder, filename);
  process.stdout.write(run('npx', 'publint', tarball, '--strict'));
  process.stdout.write(run('npx', 'attw', tarball, '--no-emoji', '--no-color'));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
const namesIn = {
  import: (entry) => [
    '--input-type=module',
    '-e',
    `console.log(Object.keys(await import('${entry}')).sort().join(' '))`,
  ],
  require: (entry) => ['--input-type=commonjs', '-e', `console.log(Object.keys(require('${entry}')).sort().join(' '))`],
};
for (const entry of [
  'bullmq-batches',
  'bullmq-batches/bull-board',
  'bullmq-batches/page',
  'bullmq-batches/testing',
  'bullmq-batches/nestjs',
]) {
  const [esm, cjs] = ['import', 'require'].map((format) => run(process.execPath, ...namesIn[format](entry)).trim());
  if (esm !== cjs) {
    throw new Error(`The two formats of ${entry} export different names:\nimport:  ${esm}\nrequire: ${cjs}`);
  }
  console.log(`import and require of ${entry} both give: ${esm}`);
}
