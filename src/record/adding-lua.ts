import { type AddCommand, bullmqScript } from './bullmq-commands.js';
import type { ScriptClient } from './client.js';
import { FIELD } from './keys.js';
import { type Script, type ScriptArgument, script } from './script.js';

/*
 * What the scripts share that add jobs to a batch. They run BullMQ's own Lua, which stores the jobs, so that deciding,
 * counting and storing are one atomic step.
 */

/** A job as an adding script gets it: its key, its kind, and how BullMQ adds it. */
export interface NewJob {
  readonly key: string;
  /** What the job is, in a word that the adding script defines. */
  readonly kind: string;
  readonly command: AddCommand;
}

/** How many arguments describe one job. */
const JOB_SIZE = 7;

/**
 * Lua: the jobs of a request, as `encodeRequest()` has laid them out. ARGV[1] is the request as JSON, with the lists of
 * keys that its jobs share; then, per job, the name of BullMQ's script, which list of keys, the job's key, its kind,
 * and the three arguments of BullMQ's script. `storeJob(i)` adds the i-th of them as BullMQ does; it returns why that
 * failed, or nil. An error must not end the script: what it has stored before would not be counted.
 */
export const LUA_JOBS = `
local request = cjson.decode(ARGV[1])
local jobCount = (#ARGV - 1) / ${JOB_SIZE}
local function jobKeyAt(i)
  return ARGV[${JOB_SIZE} * i - ${JOB_SIZE - 4}]
end
local function jobKindAt(i)
  return ARGV[${JOB_SIZE} * i - ${JOB_SIZE - 5}]
end
local function storeJob(i)
  local at = ${JOB_SIZE} * (i - 1) + 1
  local keys = request.keySets[tonumber(ARGV[at + 2])]
  local isDone, reply = pcall(bullmq[ARGV[at + 1]], keys, { ARGV[at + 5], ARGV[at + 6], ARGV[at + 7] })
  if not isDone then
    return type(reply) == 'table' and reply.err or tostring(reply)
  end
  if type(reply) == 'number' and reply < 0 then
    return 'BullMQ returned ' .. reply
  end
end
`;

/**
 * Lua: refusalOf(batchKey, nonce, links) returns why nothing may be added to a batch, or nil. `links` are pairs of a
 * dependencies key and a member key; for a caller who adds to a sealed batch all of them must hold.
 */
export const LUA_REFUSAL = `
local function refusalOf(batchKey, nonce, links)
  local batch = redis.call('HMGET', batchKey, '${FIELD.nonce}', '${FIELD.sealedAt}', 'finishedOn',
    '${FIELD.cancelledAt}', '${FIELD.removal}')
  if batch[1] ~= nonce or batch[5] then
    return 'not found'
  end
  if batch[4] then
    return 'cancelled'
  end
  if batch[2] then
    local isAttached = #links > 0
    for i = 1, #links, 2 do
      isAttached = isAttached and redis.call('SISMEMBER', links[i], links[i + 1]) == 1
    end
    if not isAttached then
      return batch[3] and 'finished' or 'sealed'
    end
  end
end
`;

/**
 * Lua: counts members that were stored, which is a sign of life of the producer. Returns 1 when the batch had been
 * abandoned and had failed because of it: it is open again, and its job must be retried.
 */
export const LUA_COUNT_MEMBERS = `
local function countMembers(batchKey, added)
  redis.call('HINCRBY', batchKey, '${FIELD.total}', added)
  redis.call('HSET', batchKey, '${FIELD.registeredAt}', now())
  local wasAbandoned = redis.call('HDEL', batchKey, '${FIELD.abandonedAt}') == 1
  return wasAbandoned and redis.call('HEXISTS', batchKey, 'finishedOn') == 1 and 1 or 0
end
`;

/** Returns the arguments of a script that uses LUA_JOBS. */
export function encodeRequest(request: object, jobs: readonly NewJob[], client: ScriptClient): ScriptArgument[] {
  const keySets = new Map<string, { readonly index: number; readonly keys: readonly string[] }>();
  const encoded = jobs.flatMap(({ key, kind, command: { name, args } }) => {
    const { numberOfKeys } = bullmqScript(client, name);
    const keys = args.slice(0, numberOfKeys) as string[];
    const id = `${numberOfKeys}${keys[0]}${name}`;
    const known = keySets.get(id) ?? { index: keySets.size + 1, keys };
    keySets.set(id, known);
    return [name, known.index, key, kind, ...args.slice(numberOfKeys)];
  });
  return [JSON.stringify({ ...request, keySets: [...keySets.values()].map(({ keys }) => keys) }), ...encoded];
}

const built = new WeakMap<ScriptClient, Map<string, Script>>();

/** Returns the script with the BullMQ scripts embedded that add these jobs; its Lua finds them by name in `bullmq`. */
export function embedding(template: Script, jobs: readonly NewJob[], client: ScriptClient): Script {
  const names = [...new Set(jobs.map(({ command }) => command.name))].sort();
  const id = [template.name, ...names].join(' ');
  const scripts = built.get(client) ?? new Map<string, Script>();
  built.set(client, scripts);
  const known = scripts.get(id);
  if (known !== undefined) {
    return known;
  }
  const functions = names.map(
    (name) => `bullmq['${name}'] = function(KEYS, ARGV)\n${bullmqScript(client, name).lua}\nend\n`,
  );
  const made = script(template.plainName, template.keys, `local bullmq = {}\n${functions.join('')}${template.lua}`);
  scripts.set(id, made);
  return made;
}
