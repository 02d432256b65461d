import type { BatchStatus, BatchTree } from '../../index.js';
import { type Sample, withSample } from './pace.js';

/** How many batches are remembered; those that were looked at last. */
const MOST_BATCHES = 500;

/**
 * Remembers where batches stood at each request that this process has answered. Redis keeps the numbers of a batch, but
 * not their course; nothing is read from Redis for it.
 */
export class History {
  readonly #known = new Map<string, readonly Sample[]>();

  /** Remembers the members of a batch, whose status was read just now, and returns what is known of them. */
  ofMembers(status: BatchStatus): readonly Sample[] {
    return this.#add(`members ${status.id}`, status, status, Date.now());
  }

  /** Remembers the jobs of a batch and of all batches below it, and returns what is known of them. */
  ofJobs(status: BatchStatus, { jobs }: BatchTree, readAt: number): readonly Sample[] {
    return this.#add(`jobs ${status.id}`, status, jobs, readAt);
  }

  #add(
    key: string,
    { createdAt, completedAt, finishedAt }: BatchStatus,
    { succeeded, failed, pending }: Counts,
    readAt: number,
  ): readonly Sample[] {
    const at = Math.max(createdAt, pending === 0 ? (completedAt ?? finishedAt ?? readAt) : readAt);
    const known = this.#known.get(key);
    const created = { at: createdAt, settled: 0, failed: 0, pending: 0 };
    // An id can be used again: then the batch is another one.
    const samples = known?.[0] !== undefined && known[0].at >= createdAt ? known : [created];
    const next = withSample(samples, { at, settled: succeeded + failed, failed, pending });
    this.#known.delete(key);
    this.#known.set(key, next);
    for (const oldest of this.#known.size > MOST_BATCHES ? this.#known.keys() : []) {
      this.#known.delete(oldest);
      break;
    }
    return next;
  }
}

type Counts = Pick<BatchStatus, 'succeeded' | 'failed' | 'pending'>;
