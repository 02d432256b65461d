import { setTimeout as pause } from 'node:timers/promises';
import { FIELD } from './keys.js';

/** How often, and after how many ms each time, a producer asks again while its abandoned batch is being judged. */
const TRIES = 600;
const CHECK_MS = 50;

/**
 * Lua: isJudged(batchKey, sealedAt): whether a BatchWorker is just judging a batch that was abandoned. It would
 * overlook what a producer that comes back does meanwhile, and the batch would fail all the same. Therefore the
 * producer waits until the BatchWorker has released the batch job; if the batch has failed by then, it is revived.
 */
export const LUA_IS_JUDGED = `
local function isJudged(batchKey, sealedAt)
  return not sealedAt and redis.call('HEXISTS', batchKey, '${FIELD.abandonedAt}') == 1
    and redis.call('EXISTS', batchKey .. ':lock') == 1
end
`;

/** Repeats a command until its reply is not that the batch is being judged; the last try does not ask for that. */
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
