import { createHash } from 'node:crypto';
import type { ScriptClient } from './client.js';
import { FIELD } from './keys.js';

/** A Lua script with its name in Redis. `keys` is how many of the arguments are KEYS. */
export interface Script {
  readonly name: string;
  readonly keys: number;
  readonly lua: string;
}

export type ScriptArgument = string | number;

/** The content is part of the name, so that two versions of this library can share one client. */
export function script(name: string, keys: number, lua: string): Script {
  const hash = createHash('sha1').update(lua).digest('hex').slice(0, 8);
  return { name: `bullmqBatches_${name}_${hash}`, keys, lua };
}

const defined = new WeakMap<ScriptClient, Set<string>>();

/** Runs a script by its hash, in one round trip; the client sends the text when Redis does not know it. */
export async function run(client: ScriptClient, { name, keys, lua }: Script, args: readonly ScriptArgument[]) {
  const names = defined.get(client) ?? new Set();
  if (!names.has(name)) {
    client.defineCommand(name, { numberOfKeys: keys, lua });
    defined.set(client, names.add(name));
  }
  return client.runCommand(name, args);
}

/** Lua: the milliseconds of Redis's own clock, the only one that all processes share. */
export const LUA_NOW = `
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
`;

/**
 * Lua, as the first statement of a script that frees memory. When Redis is out of memory it refuses a script whose first write
 * may grow, but lets one go on whose first write cannot: deleting a key that does not exist is such a write.
 */
export const LUA_FREES_MEMORY = `redis.call('DEL', KEYS[1] .. ':none')
`;

/** Lua: whether an id is that of one of the batch's own callbacks, whose beginnings are the arguments from this one on. */
export const luaIsCallback = (firstArgument: number) => `
local function isCallback(id)
  for i = ${firstArgument}, #ARGV do
    if string.sub(id, 1, #ARGV[i]) == ARGV[i] then
      return true
    end
  end
  return false
end
`;

/**
 * Lua: puts a batch's definition aside when the batch is first written to: right after its creation, or, if that was cut short,
 * when something else happens to it. From then on, what becomes of the job's data does not matter.
 */
export const LUA_KEEP_DEFINITION = `
local function keepDefinition(jobKey)
  if redis.call('HEXISTS', jobKey, '${FIELD.definition}') == 0 then
    local data = redis.call('HGET', jobKey, 'data')
    redis.call('HSET', jobKey, '${FIELD.definition}', data)
    local isRead, definition = pcall(cjson.decode, data)
    if isRead and type(definition) == 'table' and definition.nonce then
      redis.call('HSET', jobKey, '${FIELD.nonce}', definition.nonce)
    end
  end
end
`;

/** Lua: the nonce of the batch that has this job; nil without a batch, and for a job of the batches queue that is none. */
export const LUA_NONCE = `
local function nonceOf(jobKey, id)
  local nonce = redis.call('HGET', jobKey, '${FIELD.nonce}')
  if nonce then
    return nonce
  end
  -- Its creation was cut short before its definition was put aside.
  local data = redis.call('HGET', jobKey, 'data')
  local isRead, definition = pcall(cjson.decode, data or '')
  return isRead and type(definition) == 'table' and definition.id == id and definition.nonce or nil
end
`;

/**
 * Lua: makes a batch job run now, from 'delayed' (open) or 'waiting-children', wherever it is. It goes through 'delayed'
 * with a score that is due for every clock: BullMQ then moves it on itself, the same way in 5 and 6, paused or not.
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
-- The same for a job that waits for its children, and has none left.
local function wakeIfIdle(queueKey, jobKey, id, dependencies)
  local isIdle = redis.call('SCARD', dependencies) == 0 and redis.call('ZSCORE', queueKey .. 'waiting-children', id)
  return isIdle and wake(queueKey, jobKey, id) or 0
end
`;

/**
 * Lua: the key prefix of a job's queue, and the job's id; queue names have no colon, job ids may have. Returns nil for a key
 * with another prefix: BullMQ accepts a child from there, and it is never a member.
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

/** Lua: the name/value pairs of a reply, in any order; \`named()\` reads them. */
export function named(reply: unknown): Readonly<Record<string, unknown>> {
  const flat = reply as readonly unknown[];
  return Object.fromEntries(flat.flatMap((name, i) => (i % 2 === 0 ? [[String(name), flat[i + 1]]] : [])));
}
