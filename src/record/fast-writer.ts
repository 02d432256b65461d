/**
 * Lua: `storeJobs(list)` writes the jobs at these positions as BullMQ's add scripts would have done one by one, for
 * jobs that have no key yet and a parent that exists: per job its hash and events, and for all of them one command per
 * list, set and counter. It returns how many it has added: all of them, because whatever can fail, a key of another
 * type, does so before the first job is written.
 *
 * BullMQ reads its packed arguments by position: the prefix of the queue, id, name, timestamp, key of the parent, that
 * of its dependencies, and the parent.
 */
export const LUA_FAST_WRITER = `
local call = redis.call
local function numberText(number)
  return number == math.floor(number) and math.abs(number) < 1e15 and string.format('%d', number) or number
end
local queues = {}
local function queueOf(prefix)
  local queue = queues[prefix]
  if not queue then
    queue = { count = 0, ranked = 0, latest = {}, wait = {}, lifo = {}, prioritized = {}, delayed = {}, members = {} }
    queues[prefix] = queue
  end
  return queue
end
local function prepare(shape)
  local args, opts = cmsgpack.unpack(bytesOf(shape.args)), cmsgpack.unpack(bytesOf(shape.opts))
  local delay, priority = opts['delay'] or 0, opts['priority'] or 0
  shape.name, shape.timestamp, shape.parentKey, shape.dependencies = args[3], numberText(args[4]), args[5], args[6]
  shape.parent, shape.json = cjson.encode(args[7]), cjson.encode(opts)
  shape.delay, shape.priority, shape.rank = numberText(delay), numberText(priority), priority
  shape.delayedAt = delay > 0 and args[4] + delay or args[4]
  shape.prefix, shape.queue = shape.form.queue, queueOf(shape.form.queue)
  local command = string.match(shape.form.name, '^%a+')
  shape.list = command == 'addDelayedJob' and 'delayed' or command == 'addPrioritizedJob' and 'prioritized'
    or opts['lifo'] and 'lifo' or 'wait'
end
-- Reads what BullMQ looks at, and raises the counters. A key of another type is an error here, before the first job.
local function openQueue(prefix, queue)
  local meta = call('HMGET', prefix .. 'meta', 'paused', 'concurrency', 'opts.maxLenEvents')
  queue.isHeld = meta[1] or meta[2] and call('LLEN', prefix .. 'active') >= tonumber(meta[2])
  queue.waitKey, queue.events = prefix .. (meta[1] and request.pausedList or 'wait'), prefix .. 'events'
  call('LLEN', queue.waitKey)
  call('XLEN', queue.events)
  for _, name in ipairs({ 'marker', 'delayed', 'prioritized' }) do
    call('ZCARD', prefix .. name)
  end
  queue.rank = queue.ranked > 0 and call('INCRBY', prefix .. 'pc', queue.ranked) - queue.ranked
  call('INCRBY', prefix .. 'id', queue.count)
  queue.maxEvents = meta[3] or 10000
  if not meta[3] then
    call('HSET', prefix .. 'meta', 'opts.maxLenEvents', queue.maxEvents)
  end
end
-- BullMQ's score for a delayed job: up to 4,096 of the same millisecond stay in order.
local function delayedScore(prefix, latest, delayedAt)
  local least, most = delayedAt * 0x1000, (delayedAt + 1) * 0x1000 - 1
  local last = latest[delayedAt]
  if not last then
    last = tonumber(call('ZREVRANGEBYSCORE', prefix .. 'delayed', most, least, 'WITHSCORES', 'LIMIT', 0, 1)[2])
  end
  latest[delayedAt] = last and math.min(last + 1, most) or least
  return latest[delayedAt]
end
local function push(command, key, values)
  if #values > 0 then
    call(command, key, unpack(values))
  end
end
local function storeJobs(list)
  for _, i in ipairs(list) do
    local shape = shapeOf[i]
    if not shape.queue then
      prepare(shape)
    end
    local queue = shape.queue
    queue.count, queue.dependencies = queue.count + 1, shape.dependencies
    queue.ranked = queue.ranked + (shape.list == 'prioritized' and 1 or 0)
  end
  for prefix, queue in pairs(queues) do
    openQueue(prefix, queue)
  end
  for _, i in ipairs(list) do
    local shape, id = shapeOf[i], ARGV[firstJob + 2 * i - 2]
    local queue, key, into = shape.queue, shape.prefix .. id, shape.list
    local events, values = queue.events, queue[into]
    call('HSET', key, 'name', shape.name, 'data', ARGV[firstJob + 2 * i - 1], 'opts', shape.json,
      'timestamp', shape.timestamp, 'delay', shape.delay, 'priority', shape.priority,
      'parentKey', shape.parentKey, 'parent', shape.parent)
    call('XADD', events, '*', 'event', 'added', 'jobId', id, 'name', shape.name)
    if into == 'delayed' then
      values[#values + 1] = delayedScore(shape.prefix, queue.latest, shape.delayedAt)
      call('XADD', events, 'MAXLEN', '~', queue.maxEvents, '*', 'event', 'delayed', 'jobId', id,
        'delay', shape.delayedAt)
    else
      if into == 'prioritized' then
        queue.rank = queue.rank + 1
        values[#values + 1] = shape.rank * 0x100000000 + queue.rank % 0x100000000
      end
      call('XADD', events, 'MAXLEN', '~', queue.maxEvents, '*', 'event', 'waiting', 'jobId', id)
    end
    values[#values + 1] = id
    queue.members[#queue.members + 1] = key
  end
  for prefix, queue in pairs(queues) do
    push('LPUSH', queue.waitKey, queue.wait)
    push('RPUSH', queue.waitKey, queue.lifo)
    push('ZADD', prefix .. 'prioritized', queue.prioritized)
    push('ZADD', prefix .. 'delayed', queue.delayed)
    push('SADD', queue.dependencies, queue.members)
    if not queue.isHeld and #queue.wait + #queue.lifo + #queue.prioritized > 0 then
      call('ZADD', prefix .. 'marker', 0, '0')
    end
    if #queue.delayed > 0 then
      local first = call('ZRANGE', prefix .. 'delayed', 0, 0, 'WITHSCORES')
      call('ZADD', prefix .. 'marker', tonumber(first[2]) / 0x1000, '1')
    end
  end
  return #list
end
`;
