import { BatchOptionsError } from '../errors.js';
import type { BatchRedis } from '../record/batch-redis.js';
import { isOtherRedis } from '../record/is-other-redis.js';
import { contextOf, isQueue, type QueueContext } from './batch-context.js';
import { newNonce } from './ids.js';
import type { QueueLike } from './queue-like.js';
import { within } from './wait.js';

/** The queues that were found to be in the Redis of the batches that they were given to. */
const sharing = new WeakMap<BatchRedis, WeakSet<QueueLike>>();

/** For how many ms the connection of a callback's queue is waited for: the batch itself does not need it. */
const PATIENCE_MS = 3000;

/**
 * Refuses callbacks for a queue in another Redis, or in another database. Callbacks are stored in the Redis of their
 * batch, where the workers of such a queue would never see them: the batch would wait for ever. Redis is asked once per
 * queue, and only where the queue itself is given: a name says nothing of a connection.
 *
 * @param callbacks what was given, checked.
 */
export async function refuseCallbacksElsewhere(context: QueueContext, callbacks: readonly unknown[]): Promise<void> {
  const given = callbacks.map((callback) => (callback as { readonly queue?: unknown } | undefined)?.queue);
  const others = [...new Set(given)].filter(isQueue).filter((queue) => queue !== context.own.queue);
  const areElsewhere = await Promise.all(others.map((queue) => isElsewhere(context, queue)));
  const elsewhere = others.find((_, i) => areElsewhere[i]);
  if (elsewhere !== undefined) {
    throw new BatchOptionsError(
      `The queue '${elsewhere.name}' of a callback is in another Redis than the batch, or in another database of it. ` +
        'A batch and its callbacks share one.',
    );
  }
}

/**
 * Whether a queue is known to be elsewhere. Where that cannot be found out now, as when Redis is full or the queue was
 * closed, it is not refused: what goes wrong then is reported by what follows, and the next call asks again.
 */
async function isElsewhere(context: QueueContext, queue: QueueLike): Promise<boolean> {
  const known = sharing.get(context.redis) ?? new WeakSet();
  sharing.set(context.redis, known);
  if (known.has(queue)) {
    return false;
  }
  const asked = askRedis(context, queue).catch(() => undefined);
  const isOther = await within(PATIENCE_MS, asked);
  if (isOther === false) {
    known.add(queue);
  }
  return isOther === true;
}

async function askRedis(context: QueueContext, queue: QueueLike): Promise<boolean> {
  const { redis } = await contextOf(queue, context.redis.batchesQueue);
  return redis !== context.redis && isOtherRedis(context.redis, redis, newNonce());
}
