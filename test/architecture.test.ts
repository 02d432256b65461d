import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** Imports point to the left only. */
const LAYERS = ['errors', 'options', 'context', 'redis', 'batch', 'worker', 'with-batches', 'index'];

const src = fileURLToPath(new URL('../src', import.meta.url));
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const layerOf = (file: string) => LAYERS.indexOf((file.split(/[\\/]/)[0] ?? '').replace(/\.[jt]s$/, ''));
const imports = (file: string) =>
  [...readFileSync(join(src, file), 'utf8').matchAll(/from '(\.[^']+)'/g)].map(([, path = '']) =>
    relative(src, join(src, dirname(file), path)),
  );

test('every file has its layer', () => {
  expect(files.filter((file) => layerOf(file) < 0)).toEqual([]);
});

test.each(files)('%s imports nothing from a layer above its own', (file) => {
  expect(imports(file).filter((imported) => layerOf(imported) > layerOf(file))).toEqual([]);
});

test('only redis/ speaks to Redis: no key is named and no script written elsewhere', () => {
  const outside = files.filter((file) => !file.startsWith('redis'));
  const offenders = outside.filter((file) =>
    /redis\.call|:dependencies|:processed|runCommand|defineCommand/.test(readFileSync(join(src, file), 'utf8')),
  );
  expect(offenders).toEqual([]);
});
