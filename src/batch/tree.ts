import { BatchNotFoundError } from '../errors.js';
import { progressOf } from '../model/rules.js';
import type { Snapshot } from '../model/snapshot.js';
import { type Collection, childrenOf } from '../record/children.js';
import { readSnapshot } from '../record/snapshot.js';
import type { BatchContext } from './batch-context.js';
import { jobsOf, type TreeJobs } from './jobs-below.js';
import { type BatchStatus, statusOf } from './status.js';

/** A batch with all batches below it. Times are ms since the epoch. */
export interface BatchTree
  extends Pick<BatchStatus, 'id' | 'description' | 'state' | 'sealed' | 'progress' | 'parentId' | 'stage'>,
    Pick<BatchStatus, 'createdAt' | 'sealedAt' | 'completedAt' | 'finishedAt' | 'failedReason'> {
  /** The jobs of this batch and of every batch below it, added up. */
  readonly jobs: TreeJobs;
  /** The child batches, oldest first; of a run its stages, in their order. */
  readonly children: readonly BatchTree[];
}

/** How many batches are read at the same time. */
const CONCURRENCY = 10;

interface Node {
  readonly id: string;
  readonly snapshot: Snapshot;
  /** The ids of the child batches, each with the collection in which it was seen last. */
  readonly children: ReadonlyMap<string, Collection>;
}

/**
 * Reads the batches level by level, and then adds up from the leaves: without recursion, so that a chain of any depth
 * fits on the stack.
 */
export async function treeOf(context: BatchContext, rootId: string): Promise<BatchTree> {
  const levels: Node[][] = [];
  for (let ids = [rootId]; ids.length > 0; ) {
    const level = await inParallel(ids, (id) => readNode(context, id));
    levels.push(level);
    ids = [...new Set(level.flatMap(({ children }) => [...children.keys()]))];
  }
  const trees = new Map<string, BatchTree>();
  for (const node of levels.reverse().flat()) {
    trees.set(node.id, treeFrom(node, trees));
  }
  const root = trees.get(rootId);
  if (root === undefined) {
    throw new BatchNotFoundError(rootId);
  }
  return root;
}

async function readNode(context: BatchContext, id: string): Promise<Node | undefined> {
  const children = new Map<string, Collection>();
  for await (const child of childrenOf(context.redis, id)) {
    children.set(child.id, child.collection);
  }
  const snapshot = await readSnapshot(context.redis, id);
  return snapshot === undefined ? undefined : { id, snapshot, children };
}

function treeFrom({ id, snapshot, children }: Node, trees: ReadonlyMap<string, BatchTree>): BatchTree {
  const { description, state, sealed, progress, parentId, failedReason, stage } = statusOf(snapshot);
  const { createdAt, sealedAt, completedAt, finishedAt } = snapshot;
  const stages = snapshot.definition.run?.stages ?? [];
  const rank = (child: BatchTree) => stages.indexOf(child.stage ?? '');
  const below = [...children.keys()]
    .flatMap((child) => trees.get(child) ?? [])
    .sort((a, b) => rank(a) - rank(b) || a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
  const counts = jobsOf(
    snapshot.counts,
    children.values(),
    below.map(({ jobs }) => jobs),
  );
  return {
    ...{ id, description, state, sealed, progress, parentId },
    ...{ createdAt, sealedAt, completedAt, finishedAt, failedReason },
    ...(stage && { stage }),
    jobs: { ...counts, progress: progressOf(counts, snapshot.ended !== undefined) },
    children: below,
  };
}

async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R | undefined>): Promise<R[]> {
  const results: (R | undefined)[] = [];
  const rest = items.entries();
  const run = async () => {
    for (const [i, item] of rest) {
      results[i] = await work(item);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, run));
  return results.filter((result) => result !== undefined) as R[];
}
