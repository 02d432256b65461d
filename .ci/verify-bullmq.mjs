// Proves the fast writer for another version of BullMQ: npm run verify-bullmq -- 6.8.0
// It installs that version into a temporary folder, runs the proof with it, and prints the lines that
// src/record/proved-scripts.ts then needs.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [wanted] = process.argv.slice(2);
if (wanted === undefined) {
  console.error('Which version? npm run verify-bullmq -- 6.8.0');
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), 'bullmq-batches-verify-'));
try {
  const quiet = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error'];
  const install = ['install', ...quiet, '--prefix', folder, `bullmq@${wanted}`, 'ioredis@^5'];
  execFileSync('npm', install, { stdio: ['ignore', 'ignore', 'inherit'] });
  const bullmq = join(folder, 'node_modules', 'bullmq');
  const { version } = JSON.parse(readFileSync(join(bullmq, 'package.json'), 'utf8'));
  const { status, stdout } = spawnSync(
    'npx',
    ['vitest', 'run', 'test/record/fast-writer.test.ts', '--project', 'verify'],
    { encoding: 'utf8', env: { ...process.env, VERIFY_BULLMQ: bullmq }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  if (status !== 0) {
    console.log(stdout);
    console.log(`bullmq ${version}: NOT proved. Jobs are added with its own Lua.`);
    process.exitCode = 1;
  } else {
    const lines = [...stdout.matchAll(/VERIFIED (\['.*\],)/g)].map(([, line]) => `  ${line}`);
    console.log([`  // ${version}`, ...lines].join('\n'));
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
