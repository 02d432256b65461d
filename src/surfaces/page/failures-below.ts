import type { BatchMethods, BatchTree, FailureReasons, QueueLike } from '../../index.js';
import { ifThere } from './ancestors.js';
import { titleOf } from './parts.js';

/** Failed jobs of the batches below one that have a reason in common. */
export interface ReasonBelow {
  readonly reason: string;
  readonly count: number;
  /** The batches that these jobs belong to, with how many there are in each; most first. */
  readonly batches: readonly { readonly id: string; readonly title: string; readonly count: number }[];
}

/** What the failed jobs below a batch come to. */
export interface FailuresBelow {
  /** The most frequent one first. */
  readonly reasons: readonly ReasonBelow[];
  /** How many failed jobs were looked at, in how many batches, and whether these were all. */
  readonly examined: number;
  readonly batches: number;
  readonly complete: boolean;
}

/** How many batches are looked at, those with most failed jobs first, and how many failures of each. */
const MOST_BATCHES = 20;
const OF_EACH = 200;

/** Counts a sample of the failed jobs below a batch by reason, with some two commands for each batch. */
export async function failuresBelow(queue: BatchMethods<QueueLike>, root: BatchTree): Promise<FailuresBelow> {
  const failing = withFailedJobs(root);
  const looked = await Promise.all(
    failing.slice(0, MOST_BATCHES).map(async (tree) => {
      const batch = await ifThere(queue.getBatch(tree.id));
      return { tree, found: await batch?.failureReasons({ limit: OF_EACH }) };
    }),
  );
  const reasons = new Map<string, ReasonBelow & { count: number; batches: ReasonBelow['batches'][number][] }>();
  let examined = 0;
  for (const { tree, found } of looked) {
    for (const { reason, count } of jobReasons(found)) {
      const group = reasons.get(reason) ?? { reason, count: 0, batches: [] };
      reasons.set(reason, group);
      group.count += count;
      group.batches.push({ id: tree.id, title: titleOf(tree), count });
      examined += count;
    }
  }
  return {
    reasons: [...reasons.values()]
      .sort((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1))
      .map((group) => ({ ...group, batches: group.batches.sort((a, b) => b.count - a.count) })),
    examined,
    batches: looked.length,
    complete: looked.length === failing.length && looked.every(({ found }) => found?.complete !== false),
  };
}

/** Returns the reasons of failed jobs. Failed child batches are left out: the reasons of their own jobs are shown. */
function jobReasons(found: FailureReasons | undefined): FailureReasons['reasons'] {
  return (found?.reasons ?? []).filter(({ examples }) => !examples.some(({ isBatch }) => isBatch));
}

/** The batches below with failed jobs of their own, those with most first. No recursion: a chain may be deep. */
function withFailedJobs(root: BatchTree): readonly BatchTree[] {
  const found: { readonly tree: BatchTree; readonly failed: number }[] = [];
  for (let level = root.children; level.length > 0; level = level.flatMap(({ children }) => children)) {
    for (const tree of level) {
      const failed = tree.children.reduce((rest, { jobs }) => rest - jobs.failed, tree.jobs.failed);
      if (failed > 0) {
        found.push({ tree, failed });
      }
    }
  }
  return found.sort((a, b) => b.failed - a.failed).map(({ tree }) => tree);
}
