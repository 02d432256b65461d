import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** Imports point to the left only. */
const LAYERS = ['errors', 'options', 'context', 'redis', 'batch', 'worker', 'with-batches', 'index'];

/** Written with the public API, as a user could have: of the library they import its index, and of each other nothing. */
const OUTSIDE = ['bull-board', 'page', 'cli'];

const src = fileURLToPath(new URL('../src', import.meta.url));
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const partOf = (file: string) => (file.split(/[\\/]/)[0] ?? '').replace(/\.[jt]s$/, '');
const layerOf = (file: string) => LAYERS.indexOf(partOf(file));
const inside = files.filter((file) => !OUTSIDE.includes(partOf(file)));
const outside = files.filter((file) => OUTSIDE.includes(partOf(file)));
const imports = (file: string) =>
  [...readFileSync(join(src, file), 'utf8').matchAll(/from '(\.[^']+)'/g)].map(([, path = '']) =>
    relative(src, join(src, dirname(file), path)),
  );

test('every file has its layer', () => {
  expect(inside.filter((file) => layerOf(file) < 0)).toEqual([]);
});

test.each(inside)('%s imports nothing from a layer above its own', (file) => {
  const above = (imported: string) => layerOf(imported) > layerOf(file) || OUTSIDE.includes(partOf(imported));
  expect(imports(file).filter(above)).toEqual([]);
});

test('what stands outside imports the public API only', () => {
  const offenders = outside.flatMap((file) =>
    imports(file)
      .filter((imported) => imported !== 'index.js' && partOf(imported) !== partOf(file))
      .map((imported) => `${file}: ${imported}`),
  );
  expect(offenders).toEqual([]);
});

test('only redis/ speaks to Redis: no key is named and no script written elsewhere', () => {
  const elsewhere = files.filter((file) => !file.startsWith('redis'));
  const offenders = elsewhere.filter((file) =>
    /redis\.call|:dependencies|:processed|runCommand|defineCommand/.test(readFileSync(join(src, file), 'utf8')),
  );
  expect(offenders).toEqual([]);
});
