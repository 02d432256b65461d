import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** Imports point to the left only; files of one floor may import each other. */
const FLOORS = [
  'errors',
  'validation',
  'context',
  'model',
  'record',
  'batch',
  'workflow',
  'worker',
  'with-batches',
  'index',
];

/**
 * Written with the public API, as a user could have: of the library they import its index, and of each other nothing.
 */
const SURFACES = 'surfaces';

const src = fileURLToPath(new URL('../src', import.meta.url));
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const textOf = (file: string) => readFileSync(join(src, file), 'utf8');
const partsOf = (file: string) => file.replace(/\.[jt]s$/, '').split(/[\\/]/);
const floorOf = (file: string) => FLOORS.indexOf(partsOf(file)[0] ?? '');
const isSurface = (file: string) => partsOf(file)[0] === SURFACES;
const inside = files.filter((file) => !isSurface(file));
const importsOf = (file: string) =>
  [...textOf(file).matchAll(/from '(\.[^']+)'/g)]
    .map(([, path = '']) => relative(src, join(src, dirname(file), path)).replace(/\.js$/, ''))
    .map((path) => (files.includes(`${path}.d.ts`) ? `${path}.d.ts` : `${path}.ts`));

test('every file is on a floor', () => {
  expect(inside.filter((file) => floorOf(file) < 0)).toEqual([]);
});

test.each(inside)('%s imports nothing from a floor above its own', (file) => {
  const isAbove = (imported: string) => isSurface(imported) || floorOf(imported) > floorOf(file);
  expect(importsOf(file).filter(isAbove)).toEqual([]);
});

test('a surface imports the public API, and nothing of another surface', () => {
  const offenders = files.filter(isSurface).flatMap((file) =>
    importsOf(file)
      .filter((imported) => imported !== 'index.ts' && partsOf(imported)[1] !== partsOf(file)[1])
      .map((imported) => `${file}: ${imported}`),
  );
  expect(offenders).toEqual([]);
});

test('no two files import each other, directly or through others, not even for a type', () => {
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]) => {
    if (path.includes(file)) {
      cycles.push([...path.slice(path.indexOf(file)), file].join(' → '));
    } else if (!done.has(file)) {
      importsOf(file).forEach((imported) => {
        visit(imported, [...path, file]);
      });
      done.add(file);
    }
  };
  files.forEach((file) => {
    visit(file, []);
  });
  expect(cycles).toEqual([]);
});

test('only record/ speaks to Redis: no key or field is named and no script written elsewhere', () => {
  const offenders = files
    .filter((file) => partsOf(file)[0] !== 'record')
    .filter((file) => /redis\.call|:dependencies|:processed|runCommand|defineCommand|'b:/.test(textOf(file)));
  expect(offenders).toEqual([]);
});
