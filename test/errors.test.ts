import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { BatchNotFoundError, BatchOptionsError } from '../src/index.js';

test('an error prints the id of its batch, and nothing where there is none', () => {
  expect(inspect(new BatchNotFoundError('november'))).toContain("{\n  batchId: 'november'\n}");
  expect(inspect(new BatchOptionsError('no option'))).not.toContain('batchId');
  expect(new BatchOptionsError('no option').batchId).toBeUndefined();
});
