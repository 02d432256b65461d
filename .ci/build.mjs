// Builds the package twice, as ES modules and as CommonJS: Jest on Node 20 cannot require() an ESM-only package.
import { execFileSync } from 'node:child_process';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
rmSync('dist', { recursive: true, force: true });
for (const project of ['src/tsconfig.json', 'src/tsconfig.cjs.json']) {
  execFileSync(process.execPath, [tsc, '-p', project], { stdio: 'inherit' });
}
const { CLIENT_SCRIPT, STYLE } = await import('../src/surfaces/page/assets.js');
for (const [format, declare] of [
  ['esm', (name) => `export const ${name}`],
  ['cjs', (name) => `exports.${name}`],
]) {
  const texts = Object.entries({ CLIENT_SCRIPT, STYLE });
  const module = texts.map(([name, text]) => `${declare(name)} = ${JSON.stringify(text)};\n`).join('');
  writeFileSync(`dist/${format}/surfaces/page/assets.js`, module);
}
writeFileSync('dist/cjs/package.json', '{ "type": "commonjs" }\n');
// npm does so where the package is installed; here it is run as it was built.
chmodSync('dist/esm/surfaces/cli/index.js', 0o755);
