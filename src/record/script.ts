import { createHash } from 'node:crypto';
import { EVENTS } from '../model/definition.js';
import type { ScriptClient } from './client.js';
import { FIELD, JOB_KEY_ENDS } from './keys.js';
import { orOutOfMemory } from './out-of-memory.js';

/** A Lua script with its name in Redis. `keys` is how many of the arguments are KEYS. */
export interface Script {
  readonly name: string;
  /** The name without the hash of the text. */
  readonly plainName: string;
  readonly keys: number;
  readonly lua: string;
}

export type ScriptArgument = string | number | Buffer;

/**
 * Makes a script. A hash of the text is part of the name, so that two versions of this library can share one client.
 */
export function script(name: string, keys: number, lua: string): Script {
  const hash = createHash('sha1').update(lua).digest('hex').slice(0, 8);
  return { name: `bullmqBatches_${name}_${hash}`, plainName: name, keys, lua };
}

/** The scripts that were defined on a client, by name, each with what its first runs have to wait for, if anything. */
const defined = new WeakMap<ScriptClient, Map<string, Promise<unknown> | undefined>>();

/**
 * Runs a script by its hash, in one round trip; the client sends the text when Redis does not know it.
 *
 * @throws BatchError when Redis is out of memory, and otherwise what the client throws.
 */
export async function run(client: ScriptClient, { name, keys, lua }: Script, args: readonly ScriptArgument[]) {
  const names = defined.get(client) ?? new Map<string, Promise<unknown> | undefined>();
  if (!names.has(name)) {
    client.defineCommand(name, { numberOfKeys: keys, lua });
    defined.set(client, names.set(name, untilPipelined(client)));
  }
  const ready = names.get(name);
  if (ready !== undefined) {
    await ready;
    names.set(name, undefined);
  }
  try {
    return await client.runCommand(name, args);
  } catch (error) {
    throw orOutOfMemory(error);
  }
}

/**
 * With `enableAutoPipelining`, ioredis collects commands in a pipeline, which knows only the scripts that were defined
 * before it was opened: any other one throws where no caller can catch it. After a ping, that pipeline has been sent.
 */
function untilPipelined(client: ScriptClient): Promise<unknown> | undefined {
  return client.options?.enableAutoPipelining === true ? client.ping?.().catch(() => {}) : undefined;
}

/** Lua: now() returns Redis's own time in ms, the only clock that all processes share. */
export const LUA_NOW = `
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
`;

/**
 * Lua: the first statement of a script that frees memory. When Redis is out of memory it refuses a script whose first
 * write may grow, and lets one run whose first write cannot: deleting a key that does not exist is such a write.
 */
export const LUA_FREES_MEMORY = `redis.call('DEL', KEYS[1] .. ':none')
`;

/** How many bytes of values and reasons one command reads, about: a script reads a megabyte in 4 ms. */
export const BYTES_PER_COMMAND = 256 * 1024;

/**
 * Lua: hashSlice(key, cursor, count, bytes) reads a slice of a hash, bounded by number and by bytes. It reads in small
 * steps, because HSCAN does not tell how long values are before it has read them. It returns the next cursor and {
 * field, value, … }, at most one step too many.
 */
export const LUA_HASH_SLICE = `
local function hashSlice(key, cursor, count, bytes)
  local slice, step = {}, 1
  repeat
    local page = redis.call('HSCAN', key, cursor, 'COUNT', math.min(step, count))
    cursor = page[1]
    for _, text in ipairs(page[2]) do
      slice[#slice + 1] = text
      bytes = bytes - #text
    end
    count = count - math.max(step, #page[2] / 2)
    step = math.min(10, 2 * step)
  until cursor == '0' or count <= 0 or bytes <= 0
  return cursor, slice
end
`;

/** How many bytes of a failure reason are read for people; a reason is as long as an error's message. */
export const REASON_LENGTH = 1000;

/** Lua: beginning(text, length) returns at most `length` bytes of a text, without a part of a character at its end. */
export const LUA_BEGINNING = `
local function beginning(text, length)
  if not text or #text <= length then
    return text
  end
  while length > 0 and math.floor(string.byte(text, length + 1) / 64) == 2 do
    length = length - 1
  end
  return string.sub(text, 1, length)
end
`;

/**
 * Lua: returns why a job has failed by itself. A job of a flow that failed because of one below it has only the reason
 * 'child … failed': then the error of the lowest failed job is returned, as long as that job exists.
 */
export const LUA_OWN_REASON = `
local function ownReason(prefix, reason)
  for _ = 1, 100 do
    local below = string.match(reason or '', '^child (.+) failed$')
    if not below or string.sub(below, 1, #prefix + 1) ~= prefix .. ':' then
      break
    end
    local found = redis.pcall('HGET', below, 'failedReason')
    if type(found) ~= 'string' then
      break
    end
    reason = found
  end
  return reason
end
`;

/** Lua: unlinkJob(key) removes all keys of a job; Redis frees large ones in the background. */
export const LUA_UNLINK_JOB = `
local function unlinkJob(key)
  redis.call('UNLINK', ${JOB_KEY_ENDS.map((end) => `key .. '${end}'`).join(', ')})
end
`;

/**
 * Lua: versionOf(pending, succeeded, failed, total, cancelledAt) returns the version of a batch, given the sizes of its
 * three collections and two of its fields: while it is the same, so are the members.
 */
export const LUA_VERSION = `
local function versionOf(pending, succeeded, failed, total, cancelledAt)
  return table.concat({ pending, succeeded, failed, total or 0, cancelledAt or '' }, ' ')
end
`;

/** Lua: isClosed(jobKey): whether the batch was sealed, abandoned or cancelled, as `isClosed` in model/rules.ts. */
export const LUA_IS_CLOSED = `
local function isClosed(jobKey)
  local batch = redis.call('HMGET', jobKey, '${FIELD.sealedAt}', '${FIELD.abandonedAt}', '${FIELD.cancelledAt}')
  return (batch[1] or batch[2] or batch[3]) and true or false
end
`;

/**
 * Lua: isOwnCallback(id, batchId, nonce): whether an id is that of a callback of this life of a batch. The whole id is
 * compared, `<batch>~<event>~<number>~<nonce>`, because members and queues may have names that begin in the same way.
 */
export const LUA_IS_OWN_CALLBACK = `
local EVENTS = { ${EVENTS.map((event) => `${event} = true`).join(', ')} }
local function isOwnCallback(id, batchId, nonce)
  local start, ending = batchId .. '~', '~' .. nonce
  if string.sub(id, 1, #start) ~= start or string.sub(id, -#ending) ~= ending then
    return false
  end
  local event = string.match(string.sub(id, #start + 1, -#ending - 1), '^(%a+)~%d+$')
  return event ~= nil and EVENTS[event] == true
end
`;

/**
 * Lua: wake(queueKey, jobKey, id) makes a batch job run now, from 'delayed' (an open batch) or 'waiting-children'. The
 * job goes through 'delayed' with a score that is due by every clock: BullMQ then moves it on itself, in the same way
 * in versions 5 and 6, whether the queue is paused or not.
 */
export const LUA_WAKE = `
local function wake(queueKey, jobKey, id)
  local delayed = queueKey .. 'delayed'
  if redis.call('ZREM', queueKey .. 'waiting-children', id) == 0 and not redis.call('ZSCORE', delayed, id) then
    return 0
  end
  redis.call('HSET', jobKey, 'delay', 0)
  redis.call('ZADD', delayed, 0, id)
  redis.call('ZADD', queueKey .. 'marker', 0, '0')
  return 1
end
-- Lets the job of an open batch wait for its members instead, without running it for that.
local function waitForMembers(queueKey, jobKey, id)
  if redis.call('ZREM', queueKey .. 'delayed', id) == 1 then
    redis.call('HSET', jobKey, 'delay', 0)
    redis.call('ZADD', queueKey .. 'waiting-children', redis.call('TIME')[1] .. '000', id)
  end
end
-- Wakes a job that waits for its children, if none is left.
local function wakeIfIdle(queueKey, jobKey, id, dependencies)
  local isIdle = redis.call('SCARD', dependencies) == 0 and redis.call('ZSCORE', queueKey .. 'waiting-children', id)
  return isIdle and wake(queueKey, jobKey, id) or 0
end
`;

/**
 * Lua: splitKey(key, prefix) returns the key prefix of a job's queue, and the job's id; queue names have no colon, job
 * ids may have. It returns nil for a key with another prefix: BullMQ accepts such a child, and it is never a member.
 */
export const LUA_SPLIT_KEY = `
local function splitKey(key, prefix)
  if string.sub(key, 1, #prefix + 1) ~= prefix .. ':' then
    return nil
  end
  local colon = string.find(key, ':', #prefix + 2, true)
  if not colon or colon == #prefix + 2 then
    return nil
  end
  return string.sub(key, 1, colon), string.sub(key, colon + 1)
end
`;

/**
 * Lua: lookAt(look, id) looks at one batch of a page. An error in one batch, for instance because one of its keys has
 * another type, must not keep the others from being looked at.
 */
export const LUA_LOOK_AT = `
local broken = {}
local function lookAt(look, id)
  local isDone, problem = pcall(look, id)
  if not isDone then
    broken[#broken + 1] = id
    broken[#broken + 1] = type(problem) == 'table' and problem.err or tostring(problem)
  end
end
`;

/** Divides a flat list of a script's reply into rows of `width` values; what is left at its end is ignored. */
export function rowsOf(reply: unknown, width: number): string[][] {
  const flat = reply as readonly string[];
  return Array.from({ length: Math.floor(flat.length / width) }, (_, i) => flat.slice(i * width, (i + 1) * width));
}

/** The values of a script's reply, by their names. */
export type NamedReply = Readonly<Record<string, unknown>>;

/** Parses the name/value pairs of a script's reply; their order does not matter. */
export function named(reply: unknown): NamedReply {
  return Object.fromEntries(rowsOf(reply, 2));
}
