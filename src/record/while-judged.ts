import { setTimeout as pause } from 'node:timers/promises';
import { FIELD } from './keys.js';

/**
 * How often, every so many ms, a producer asks again while a BatchWorker is judging the batch that it had abandoned.
 */
const TRIES = 600;
const CHECK_MS = 50;

/**
 * Lua: isJudged(batchKey, sealedAt): whether a BatchWorker is just judging a batch that was abandoned. What a producer
 * that comes back does then would be overlooked: the batch would fail all the same. It waits until the BatchWorker has
 * let go of the batch, which may have failed by then, and is revived.
 */
export const LUA_IS_JUDGED = `
local function isJudged(batchKey, sealedAt)
  return not sealedAt and redis.call('HEXISTS', batchKey, '${FIELD.abandonedAt}') == 1
    and redis.call('EXISTS', batchKey .. ':lock') == 1
end
`;

/** Sends a command until it is not told that the batch is being judged; the last time, it does not wait any more. */
export async function whileJudged<Reply>(
  send: (mayWait: boolean) => Promise<Reply>,
  isJudged: (reply: Reply) => boolean,
): Promise<Reply> {
  for (let tries = 1; ; tries++) {
    const reply = await send(tries < TRIES);
    if (tries >= TRIES || !isJudged(reply)) {
      return reply;
    }
    await pause(CHECK_MS);
  }
}
