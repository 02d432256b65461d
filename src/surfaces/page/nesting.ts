import type { BatchStatus } from '../../index.js';
import type { Family } from './list.js';

/** A batch in a list, with the listed batches below it. */
export interface Nested {
  readonly status: BatchStatus;
  /** It is there because of the batches below it, and may be in another state than they are. */
  readonly isContext: boolean;
  readonly children: readonly Nested[];
}

type Growing = Nested & { readonly children: Nested[] };

/** Puts each batch below its parent, and the outermost ones into the order in which the first of each family came. */
export function nest({ batches, parents }: Pick<Family, 'batches' | 'parents'>): readonly Nested[] {
  const nodes = new Map<string, Growing>();
  for (const status of batches) {
    nodes.set(status.id, { status, isContext: false, children: [] });
  }
  for (const status of parents) {
    nodes.set(status.id, { status, isContext: true, children: [] });
  }
  const placed = new Set<string>();
  const outermost: Nested[] = [];
  for (const batch of batches) {
    let node: Growing | undefined = nodes.get(batch.id);
    while (node !== undefined && !placed.has(node.status.id)) {
      placed.add(node.status.id);
      const parent: Growing | undefined = nodes.get(node.status.parentId ?? '');
      (parent?.children ?? outermost).push(node);
      node = parent;
    }
  }
  return outermost;
}

/** The batches below one, without those that are context only. */
export function batchesBelow({ children }: Nested): readonly BatchStatus[] {
  const below: BatchStatus[] = [];
  for (let level = children; level.length > 0; level = level.flatMap((node) => node.children)) {
    below.push(...level.filter(({ isContext }) => !isContext).map(({ status }) => status));
  }
  return below;
}
