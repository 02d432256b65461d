import { type AddCommand, bullmqScript } from './bullmq-commands.js';
import type { ScriptClient } from './client.js';
import { LUA_FAST_WRITER } from './fast-writer.js';
import { FIELD } from './keys.js';
import { type Script, type ScriptArgument, script } from './script.js';
import { LUA_IS_JUDGED } from './while-judged.js';

/*
 * What the scripts share through which jobs come into a batch: the jobs are stored inside of our script, by BullMQ's
 * own Lua or by the fast writer, so that deciding, counting and storing are one atomic step.
 */

/** What jobs have in common that differ in nothing but their id and data. */
export interface JobShape {
  /** The key prefix of the queue. */
  readonly queueKey: string;
  /** A word for the script that stores the job. */
  readonly kind: string;
  /** How BullMQ adds one of them. */
  readonly command: AddCommand;
  /** Whether BullMQ does nothing with them but store them. */
  readonly isPlain: boolean;
}

/** A job on its way into a batch's script. BullMQ's own Lua needs a shape per job, because the command names the id. */
export interface NewJob {
  readonly id: string;
  /** JSON. */
  readonly data: string;
  readonly shape: JobShape;
}

/** What stores the members in a script: BullMQ's own Lua, or the fast writer. */
export type Writer = 'BullMQ' | 'fast';

/**
 * Lua: the jobs of a request, as `encodeRequest()` has laid them out. ARGV[1] is the request as JSON; then, per shape,
 * which of `request.forms` it has, and the first and last argument of BullMQ's add script; then, per job, its id and
 * its data. `request.runs` says how many jobs in a row have which shape.
 */
const LUA_JOBS = `
local request = cjson.decode(ARGV[1])
local firstJob = 2 + 3 * request.shapes
local jobCount = (#ARGV - firstJob + 1) / 2
local shapes, shapeOf = {}, {}
for i = 1, request.shapes do
  shapes[i] = { form = request.forms[tonumber(ARGV[3 * i - 1])], args = ARGV[3 * i], opts = ARGV[3 * i + 1] }
end
local runs = request.runs
for i = 1, #runs, 2 do
  for _ = 1, runs[i + 1] do
    shapeOf[#shapeOf + 1] = shapes[runs[i]]
  end
end
local function jobIdAt(i)
  return ARGV[firstJob + 2 * i - 2]
end
local function jobDataAt(i)
  return ARGV[firstJob + 2 * i - 1]
end
local function jobKeyAt(i)
  return shapeOf[i].form.queue .. jobIdAt(i)
end
local function jobKindAt(i)
  return shapeOf[i].form.kind
end
-- Bytes, which may have been sent as text.
local function bytesOf(text)
  return not request.isText and text or (string.gsub(text, '[\\194\\195][\\128-\\191]', function(pair)
    local first, second = string.byte(pair, 1, 2)
    return string.char((first - 192) * 64 + second - 128)
  end))
end
`;

/**
 * Lua: `storeJob(i)` adds the i-th job as BullMQ does; it returns why that failed, or nil. An error must not end the
 * script: what it has stored before would not be counted.
 */
const LUA_STORE_JOB = `
local function storeJob(i)
  local shape = shapeOf[i]
  local own = { bytesOf(shape.args), jobDataAt(i), bytesOf(shape.opts) }
  local isDone, reply = pcall(bullmq[shape.form.name], shape.form.keys, own)
  if not isDone then
    return type(reply) == 'table' and reply.err or tostring(reply)
  end
  if type(reply) == 'number' and reply < 0 then
    return 'BullMQ returned ' .. reply
  end
end
`;

/**
 * Lua: `storeJobs(list)` adds the members at these positions, one by one; it returns how many it has added, the
 * position of the one that failed, and why. The fast writer does the same at once.
 */
const LUA_STORE_ONE_BY_ONE = `
local function storeJobs(list)
  for n, i in ipairs(list) do
    local failure = storeJob(i)
    if failure then
      return n - 1, i, failure
    end
  end
  return #list
end
`;

/**
 * Lua: refusalOf(batchKey, nonce, links) returns why nothing may be added to a batch, or nil. `links` are pairs of a
 * dependencies key and a member key; for a caller who adds to a sealed batch all of them must hold. With
 * `request.mayWait` the reason is 'judged' while a BatchWorker judges the batch, and the caller asks again.
 */
export const LUA_REFUSAL = `${LUA_IS_JUDGED}
local function refusalOf(batchKey, nonce, links)
  local batch = redis.call('HMGET', batchKey, '${FIELD.nonce}', '${FIELD.sealedAt}', 'finishedOn',
    '${FIELD.cancelledAt}', '${FIELD.removal}', '${FIELD.abandonedAt}', '${FIELD.roots}')
  if batch[1] ~= nonce or batch[5] then
    return 'not found'
  end
  -- The stages of this run are being skipped: a new one would never be told.
  if batch[6] and batch[7] and not batch[2] and not batch[4] then
    return 'abandoned'
  end
  if request.mayWait and not batch[4] and isJudged(batchKey, batch[2]) then
    return 'judged'
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
 * Lua: counts members that were stored, which is a sign of life of the producer. Returns 1 when the batch has failed,
 * because it had been abandoned: it is open again, and its job must be retried.
 */
export const LUA_COUNT_MEMBERS = `
local function countMembers(batchKey, added)
  redis.call('HINCRBY', batchKey, '${FIELD.total}', added)
  redis.call('HSET', batchKey, '${FIELD.registeredAt}', now())
  local wasAbandoned = redis.call('HDEL', batchKey, '${FIELD.abandonedAt}') == 1
  return (wasAbandoned or added > 0) and redis.call('HEXISTS', batchKey, 'finishedOn') == 1 and 1 or 0
end
`;

/** How many jobs there are at least for each of their shapes, for the shapes to be sent as text. */
const TEXT_FROM = 50;

/**
 * The arguments of a script that stores jobs. Where many jobs share a shape, all of them are strings, which ioredis
 * sends at two thirds of the cost; the script has to undo what UTF-8 makes of bytes above 127, once for each shape.
 */
export function encodeRequest(request: object, jobs: readonly NewJob[], writer: Writer): ScriptArgument[] {
  const shapes = new Map<JobShape, number>();
  const runs: number[] = [];
  const own: string[] = [];
  for (const { id, data, shape } of jobs) {
    own.push(id, data);
    const index = shapes.get(shape) ?? shapes.size + 1;
    shapes.set(shape, index);
    if (index === runs.at(-2)) {
      (runs[runs.length - 1] as number)++;
    } else {
      runs.push(index, 1);
    }
  }
  const isText = jobs.length >= TEXT_FROM * shapes.size;
  const packed = (bytes: string | Buffer | undefined) =>
    isText ? (bytes as Buffer).toString('latin1') : (bytes as Buffer);
  const forms = new Map<string, Form>();
  const described = [...shapes.keys()].flatMap((shape) => {
    const { args } = shape.command;
    return [formIndex(forms, shape, writer), packed(args.at(-3)), packed(args.at(-1))];
  });
  const head = { ...request, isText, forms: [...forms.values()], shapes: shapes.size, runs };
  return [JSON.stringify(head), ...described, ...own];
}

/** What shapes have in common: the same script of BullMQ's, with the same keys. */
interface Form {
  readonly name: string;
  readonly keys: readonly unknown[] | undefined;
  readonly queue: string;
  readonly kind: string;
}

/** Returns the position of a shape's form among the forms, from 1 on; a new one goes to the end. */
function formIndex(forms: Map<string, Form>, { command, queueKey: queue, kind, isPlain }: JobShape, writer: Writer) {
  const { name, args } = command;
  const id = `${name} ${kind} ${queue}`;
  if (!forms.has(id)) {
    // The fast writer derives the keys from the queue's prefix.
    forms.set(id, { name, keys: writer === 'fast' && isPlain ? undefined : args.slice(0, -3), queue, kind });
  }
  return [...forms.keys()].indexOf(id) + 1;
}

const built = new WeakMap<ScriptClient, Map<string, Script>>();

/** The script with what stores these jobs in it: BullMQ's scripts that add them, and for plain ones the fast writer. */
export function embedding(template: Script, jobs: readonly NewJob[], client: ScriptClient, writer: Writer): Script {
  const own = writer === 'fast' ? jobs.filter(({ shape }) => !shape.isPlain) : jobs;
  const names = [...new Set(own.map(({ shape }) => shape.command.name))].sort();
  const id = [template.name, writer, ...names].join(' ');
  const scripts = built.get(client) ?? new Map<string, Script>();
  built.set(client, scripts);
  const known = scripts.get(id);
  if (known !== undefined) {
    return known;
  }
  const functions = names.map(
    (name) => `bullmq['${name}'] = function(KEYS, ARGV)\n${bullmqScript(client, name).lua}\nend\n`,
  );
  const storeJobs = writer === 'fast' ? LUA_FAST_WRITER : LUA_STORE_ONE_BY_ONE;
  const lua = ['local bullmq = {}\n', ...functions, LUA_JOBS, LUA_STORE_JOB, storeJobs, template.lua].join('');
  const made = script(template.plainName, template.keys, lua);
  scripts.set(id, made);
  return made;
}
