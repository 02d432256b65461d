import { createHash } from 'node:crypto';
import { debuglog } from 'node:util';
import type { JobShape, NewJob, Writer } from './adding-lua.js';
import { bullmqScript } from './bullmq-commands.js';
import type { ScriptClient } from './client.js';
import { PROVED } from './proved-scripts.js';

/**
 * Lua: `storeJobs(list)` writes the jobs at these positions as BullMQ's add scripts would have done one by one, for jobs
 * that have no key yet and a parent that exists: per job its hash and events, and for all of them one command per list,
 * set and counter. It returns how many it has added: all of them, because whatever can fail, a key of another type,
 * does so before the first job is written.
 *
 * BullMQ reads its packed arguments by position: the prefix of the queue, id, name, timestamp, key of the parent, that
 * of its dependencies, and the parent.
 */
export const LUA_FAST_WRITER = `
local function numberText(number)
  return number == math.floor(number) and math.abs(number) < 1e15 and string.format('%d', number) or number
end
local function isPausedOrMaxed(queue)
  local meta = redis.call('HMGET', queue.meta, 'paused', 'concurrency')
  if meta[1] then
    return true, true
  end
  return meta[2] and redis.call('LLEN', queue.active) >= tonumber(meta[2]) or false, false
end
local function maxEventsOf(meta)
  local maxEvents = redis.call('HGET', meta, 'opts.maxLenEvents')
  if not maxEvents then
    maxEvents = 10000
    redis.call('HSET', meta, 'opts.maxLenEvents', maxEvents)
  end
  return maxEvents
end
local queues = {}
local function queueOf(form)
  local queue = queues[form.queue]
  if not queue then
    queue = { count = 0, wait = {}, lifo = {}, prioritized = {}, delayed = {}, dependencies = {}, latest = {} }
    for _, name in ipairs({ 'active', 'delayed', 'events', 'id', 'marker', 'meta', 'pc', 'prioritized' }) do
      queue[name .. 'Key'] = form.queue .. name
    end
    queue.meta, queue.active, queue.events = queue.metaKey, queue.activeKey, queue.eventsKey
    queues[form.queue] = queue
  end
  return queue
end
local function prepare(shape)
  local args, opts = cmsgpack.unpack(shape.args), cmsgpack.unpack(shape.opts)
  shape.name, shape.parentKey, shape.dependencies = args[3], args[5], args[6]
  shape.parent, shape.json = cjson.encode(args[7]), cjson.encode(opts)
  shape.at, shape.ms = tonumber(args[4]), tonumber(opts['delay'] or 0)
  shape.timestamp = numberText(args[4])
  shape.delay, shape.priority = numberText(opts['delay'] or 0), numberText(opts['priority'] or 0)
  shape.number = opts['priority'] or 0
  local name = string.match(shape.form.name, '^%a+')
  shape.list = name == 'addDelayedJob' and 'delayed' or name == 'addPrioritizedJob' and 'prioritized'
    or opts['lifo'] and 'lifo' or 'wait'
  shape.queue = queueOf(shape.form)
  shape.isReady = true
end
-- BullMQ's score for a delayed job: up to 4,096 of the same millisecond stay in order.
local function delayedScore(queue, delayedAt)
  local least, most = delayedAt * 0x1000, (delayedAt + 1) * 0x1000 - 1
  local latest = queue.latest[delayedAt]
  if not latest then
    local found = redis.call('ZREVRANGEBYSCORE', queue.delayedKey, most, least, 'WITHSCORES', 'LIMIT', 0, 1)
    latest = tonumber(found[2])
  end
  local score = not latest and least or latest >= most and most or latest + 1
  queue.latest[delayedAt] = score
  return score
end
local function prepareQueues(list)
  for _, i in ipairs(list) do
    local shape = shapeOf[i]
    if not shape.isReady then
      prepare(shape)
    end
    shape.queue.count = shape.queue.count + 1
    shape.queue.dependenciesKey = shape.dependencies
    if shape.list == 'prioritized' then
      shape.queue.toBePrioritized = (shape.queue.toBePrioritized or 0) + 1
    end
  end
  for prefix, queue in pairs(queues) do
    local isHeld, isPaused = isPausedOrMaxed(queue)
    queue.isHeld = isHeld
    queue.waitKey = prefix .. (isPaused and request.pausedList or 'wait')
    -- A key of another type is an error here, before the first job is written.
    redis.call('LLEN', queue.waitKey)
    redis.call('XLEN', queue.eventsKey)
    for _, name in ipairs({ 'marker', 'delayed', 'prioritized' }) do
      redis.call('ZCARD', queue[name .. 'Key'])
    end
    queue.maxEvents = maxEventsOf(queue.meta)
    if queue.toBePrioritized then
      queue.priorityCounter = redis.call('INCRBY', queue.pcKey, queue.toBePrioritized) - queue.toBePrioritized
    end
    redis.call('INCRBY', queue.idKey, queue.count)
  end
end
local function push(command, key, values)
  if #values > 0 then
    redis.call(command, key, unpack(values))
  end
end
local function storeJobs(list)
  prepareQueues(list)
  for _, i in ipairs(list) do
    local shape, id = shapeOf[i], jobIdAt(i)
    local queue, key, into = shape.queue, shape.form.queue .. id, shape.list
    redis.call('HSET', key, 'name', shape.name, 'data', ARGV[firstJob + 2 * i - 1], 'opts', shape.json,
      'timestamp', shape.timestamp, 'delay', shape.delay, 'priority', shape.priority,
      'parentKey', shape.parentKey, 'parent', shape.parent)
    redis.call('XADD', queue.events, '*', 'event', 'added', 'jobId', id, 'name', shape.name)
    queue.dependencies[#queue.dependencies + 1] = key
    local values = queue[into]
    if into == 'delayed' then
      local delayedAt = shape.ms > 0 and shape.at + shape.ms or shape.at
      values[#values + 1] = delayedScore(queue, delayedAt)
      redis.call('XADD', queue.events, 'MAXLEN', '~', queue.maxEvents, '*', 'event', 'delayed', 'jobId', id,
        'delay', delayedAt)
    else
      if into == 'prioritized' then
        queue.priorityCounter = queue.priorityCounter + 1
        values[#values + 1] = shape.number * 0x100000000 + queue.priorityCounter % 0x100000000
      end
      redis.call('XADD', queue.events, 'MAXLEN', '~', queue.maxEvents, '*', 'event', 'waiting', 'jobId', id)
    end
    values[#values + 1] = id
  end
  for _, queue in pairs(queues) do
    push('LPUSH', queue.waitKey, queue.wait)
    push('RPUSH', queue.waitKey, queue.lifo)
    push('ZADD', queue.prioritizedKey, queue.prioritized)
    push('ZADD', queue.delayedKey, queue.delayed)
    push('SADD', queue.dependenciesKey, queue.dependencies)
    if not queue.isHeld and #queue.wait + #queue.lifo + #queue.prioritized > 0 then
      redis.call('ZADD', queue.markerKey, 0, '0')
    end
    if #queue.delayed > 0 then
      local first = redis.call('ZRANGE', queue.delayedKey, 0, 0, 'WITHSCORES')
      redis.call('ZADD', queue.markerKey, tonumber(first[2]) / 0x1000, '1')
    end
  end
  return #list
end
`;

/** Options that make BullMQ do more than store a job, or look at its data. */
const NOT_PLAIN = ['repeat', 'repeatJobKey', 'deduplication', 'debounce', 'sizeLimit'];

/** Whether the fast writer can store jobs with these options, and they may share a shape. */
export function arePlain(opts: object): boolean {
  const named = opts as Readonly<Record<string, unknown>>;
  const areWhole = [named.delay, named.timestamp].every((ms) => ms === undefined || Number.isInteger(ms));
  return areWhole && NOT_PLAIN.every((name) => named[name] === undefined);
}

/** How jobs are stored on a client. */
export interface Writing {
  readonly writer: Writer;
  /** The list that takes the jobs of a queue that is paused; BullMQ 5 has one of its own. */
  readonly pausedList?: 'wait' | 'paused' | undefined;
}

const OWN: Writing = { writer: 'BullMQ' };
const COMMANDS = ['addStandardJob', 'addDelayedJob', 'addPrioritizedJob'];
const debug = debuglog('bullmq-batches');

/**
 * How to store these jobs: with the fast writer, if all of them are plain and the tests have proved that it leaves what
 * the installed BullMQ's scripts do, or else with those scripts.
 */
export function writingFor(client: ScriptClient, jobs: readonly NewJob[]): Writing {
  let pausedList: Writing['pausedList'];
  let last: JobShape | undefined;
  for (const { shape } of jobs) {
    if (shape !== last) {
      last = shape;
      const writing = shape.isPlain ? writingOf(client, shape.command.name) : OWN;
      if (writing.writer !== 'fast') {
        return OWN;
      }
      pausedList ??= writing.pausedList;
    }
  }
  return { writer: 'fast', pausedList };
}

const known = new WeakMap<ScriptClient, Map<string, Writing>>();

/**
 * How to store plain jobs that BullMQ adds with the script of this name. The environment variable
 * BULLMQ_BATCHES_WRITER=bullmq switches the fast writer off; 'unproved' is for the proof itself.
 */
export function writingOf(client: ScriptClient, name: string): Writing {
  const setting = process.env.BULLMQ_BATCHES_WRITER;
  if (setting === 'bullmq') {
    return OWN;
  }
  const writings = known.get(client) ?? new Map<string, Writing>();
  known.set(client, writings);
  const writing = writings.get(name) ?? provedWriting(client, name, setting === 'unproved');
  writings.set(name, writing);
  return writing;
}

function provedWriting(client: ScriptClient, name: string, isProving: boolean): Writing {
  const [command = ''] = name.split(':');
  if (!COMMANDS.includes(command)) {
    return OWN;
  }
  const { lua } = bullmqScript(client, name);
  const pausedList = isProving ? pausedListOf(lua) : PROVED.get(createHash('sha1').update(lua).digest('hex'));
  if (pausedList === undefined) {
    debug(`'${name}' is not a script that the fast writer is proved for: jobs are added with BullMQ's own Lua.`);
    return OWN;
  }
  return { writer: 'fast', pausedList };
}

/** What to try, in the proof of a version: BullMQ 5 chooses between two lists. */
export function pausedListOf(lua: string): 'wait' | 'paused' {
  return lua.includes('local function getTargetQueueList') ? 'paused' : 'wait';
}
