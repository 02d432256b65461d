import type { BatchStatus } from '../../../src/index.js';
import { batchesBelow, type Nested, nest } from '../../../src/surfaces/page/nesting.js';
import { expect, test } from '../../support/test.js';

const batch = (id: string, parentId?: string) => ({ id, parentId }) as BatchStatus;

/** E.g. "a(b c(d))", with a star for what is context only. */
const shape = (nodes: readonly Nested[]): string =>
  nodes
    .map(
      ({ status: { id }, isContext, children }) =>
        `${id}${isContext ? '*' : ''}${children.length > 0 ? `(${shape(children)})` : ''}`,
    )
    .join(' ');

test('batches are below their parents, each once, in the order in which the first of a family comes', () => {
  const batches = [batch('x'), batch('b', 'a'), batch('y'), batch('a'), batch('c', 'a'), batch('d', 'c')];
  expect(shape(nest({ batches, parents: [] }))).toBe('x a(b c(d)) y');
});

test('parents in another state hold their children together', () => {
  const batches = [batch('c', 'b'), batch('e', 'b'), batch('f', 'a')];
  const outermost = nest({ batches, parents: [batch('a'), batch('b', 'a')] });
  expect(shape(outermost)).toBe('a*(b*(c e) f)');
  expect(outermost.flatMap(batchesBelow).map(({ id }) => id)).toEqual(['f', 'c', 'e']);
});

test('a batch whose parent is gone is an outermost one', () => {
  expect(shape(nest({ batches: [batch('a', 'gone')], parents: [] }))).toBe('a');
});
