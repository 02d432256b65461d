import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as api from '../src/index.js';

test('the public API is what it was: a change here is a change for users', async () => {
  const source = readFileSync(new URL('../src/index.ts', import.meta.url), 'utf8');
  const names = [...source.matchAll(/\{([^}]+)\}/g)]
    .flatMap(([, list = '']) => list.split(','))
    .map((name) => name.replace('type', '').trim());
  const { Batch } = await import('../src/batch/batch.js');
  const members = (type: { prototype: object }) =>
    Object.getOwnPropertyNames(type.prototype).filter((name) => name !== 'constructor');
  expect({
    exports: names.filter(Boolean).sort(),
    values: Object.keys(api).sort(),
    Batch: members(Batch).sort(),
    BatchWorker: members(api.BatchWorker).sort(),
  }).toMatchSnapshot();
});
