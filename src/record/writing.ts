import { createHash } from 'node:crypto';
import { debuglog } from 'node:util';
import type { NewJob, Writer } from './adding-lua.js';
import { bullmqScript } from './bullmq-commands.js';
import type { ScriptClient } from './client.js';
import { PROVED } from './proved-scripts.js';

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
  const shapes = [...new Set(jobs.map(({ shape }) => shape))];
  const writings = shapes.map(({ isPlain, command }) => (isPlain ? writingOf(client, command.name) : OWN));
  const [first = OWN] = writings;
  return writings.every(({ writer }) => writer === 'fast') ? first : OWN;
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
