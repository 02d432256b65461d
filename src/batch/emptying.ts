import type { BatchRedis } from '../record/batch-redis.js';
import {
  type CancelledBatch,
  type EmptiedBatch,
  markChildren,
  noteEmptied,
  type Page,
  type TreePage,
} from '../record/cancel.js';
import { type CancelPage, cancelMembers, type FlowNode, membersNode } from '../record/cancel-members.js';
import { type SortPage, sortFailed } from '../record/sort-cancelled.js';

/** How many batches, or jobs of flows, one command gets at most. */
const AT_ONCE = 200;

/**
 * What is to be done in a cancelled batch: everything, or only its members when its child batches and flows were gone
 * through before.
 */
export type Task = 'everything' | 'members';

/**
 * Takes the pending members out of cancelled batches, one bounded command after the other: first it marks the child
 * batches of the whole tree, then it takes out the members, then what is below flows. Each command may be repeated, and
 * none relies on the result of an earlier one: a process that starts again after a crash finds what is left.
 */
export class Emptying {
  readonly #redis: BatchRedis;
  readonly #isWholeTree: boolean;
  readonly #batches = new Set<string>();
  readonly #nodes = new Set<string>();
  #tree: TreePage[] = [];
  #members: CancelPage[] = [];
  #failed: SortPage[] = [];
  #flows: CancelPage[] = [];
  #emptied: EmptiedBatch[] = [];

  /** Without the `wholeTree`, child batches are marked, and left to be emptied by themselves. */
  constructor(
    redis: BatchRedis,
    batch: CancelledBatch,
    { task = 'everything', wholeTree = false }: { readonly task?: Task; readonly wholeTree?: boolean },
  ) {
    this.#redis = redis;
    this.#isWholeTree = wholeTree;
    this.#add([batch], task);
  }

  get isDone(): boolean {
    return (
      this.#tree.length + this.#members.length + this.#failed.length + this.#flows.length + this.#emptied.length === 0
    );
  }

  /** Sends one command. */
  async step(): Promise<void> {
    if (this.#tree.length > 0) {
      const { pages, found } = await markChildren(this.#redis, this.#tree.slice(0, AT_ONCE));
      this.#tree = rest(this.#tree, pages);
      if (this.#isWholeTree) {
        this.#add(found, 'everything');
      }
    } else if (this.#members.length > 0) {
      await this.#cancelMembers();
    } else if (this.#failed.length > 0) {
      const { pages, found } = await sortFailed(this.#redis, this.#failed.slice(0, AT_ONCE));
      this.#failed = rest(this.#failed, pages);
      this.#addNodes(found);
    } else if (this.#flows.length > 0) {
      const { pages, found } = await cancelMembers(this.#redis, this.#flows.slice(0, AT_ONCE));
      this.#flows = rest(this.#flows, pages);
      this.#addNodes(found);
    } else {
      await noteEmptied(this.#redis, this.#emptied.slice(0, AT_ONCE));
      this.#emptied = this.#emptied.slice(AT_ONCE);
    }
  }

  async #cancelMembers(): Promise<void> {
    const { pages, found } = await cancelMembers(this.#redis, this.#members.slice(0, AT_ONCE));
    this.#members = rest(this.#members, pages);
    this.#emptied.push(...pages.filter(({ cursor }) => cursor === '0'));
    this.#addNodes(found);
  }

  /** Goes through each batch and each flow once: by hand, people can make them their own ancestors. */
  #add(batches: readonly CancelledBatch[], task: Task): void {
    for (const batch of batches) {
      if (!this.#batches.has(batch.batchId)) {
        this.#batches.add(batch.batchId);
        this.#members.push({ ...membersNode(this.#redis, batch), cursor: '0', isOutstanding: false });
        if (task === 'everything') {
          this.#tree.push({ ...batch, cursor: '0' });
          this.#failed.push({ ...batch, cursor: '0', settled: '' });
        }
      }
    }
  }

  #addNodes(nodes: readonly FlowNode[]): void {
    for (const node of nodes) {
      const name = `${node.collection} ${node.key}`;
      if (!this.#nodes.has(name)) {
        this.#nodes.add(name);
        this.#flows.push({ ...node, cursor: '0', isOutstanding: false });
      }
    }
  }
}

/** Returns what is left after a command: the pages that it has not finished, and those that it has not reached. */
function rest<P extends Page>(before: readonly P[], done: readonly P[]): P[] {
  return [...done.filter(({ cursor }) => cursor !== '0'), ...before.slice(done.length)];
}
