import type { BatchesPlace } from '../model/place.js';
import { embedding, encodeRequest, type NewJob, type Writer } from './adding-lua.js';
import type { ScriptClient } from './client.js';
import { run, type Script, type ScriptArgument, script } from './script.js';
import { writingFor, writingOf } from './writing.js';

/** KEYS: the key of a command. ARGV: the command's name, and its other arguments. Returns its reply. */
const COMMAND = script('command', 1, 'return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))');

/** One Redis, prefix and queue of batches, as the scripts need them. */
export class BatchRedis implements BatchesPlace {
  readonly prefix: string;
  readonly batchesQueue: string;
  readonly #client: ScriptClient;

  constructor(client: ScriptClient, prefix: string, batchesQueue: string) {
    this.#client = client;
    this.prefix = prefix;
    this.batchesQueue = batchesQueue;
  }

  /**
   * Runs a script that stores jobs, with BullMQ's own scripts or the fast writer inside of it.
   *
   * @param members those of the jobs that the fast writer may store, if it can store all of them. Default: all.
   */
  runAdding(
    template: Script,
    jobs: readonly NewJob[],
    keys: readonly string[],
    request: object,
    members = jobs,
  ): Promise<unknown> {
    const { writer, pausedList } = writingFor(this.#client, members);
    const script = embedding(template, jobs, this.#client, writer);
    return this.run(script, [...keys, ...encodeRequest({ ...request, pausedList }, jobs, writer)]);
  }

  /** How plain members are stored with the installed BullMQ. */
  get writer(): Writer {
    return writingOf(this.#client, 'addStandardJob').writer;
  }

  /** Whether these jobs are stored by the fast writer. */
  writesFast(jobs: readonly NewJob[]): boolean {
    return writingFor(this.#client, jobs).writer === 'fast';
  }

  /** Runs one command of Redis on one key: clients of different libraries name their methods differently. */
  command(name: string, key: string, ...args: readonly ScriptArgument[]): Promise<unknown> {
    return this.run(COMMAND, [key, name, ...args]);
  }

  run(script: Script, args: readonly ScriptArgument[]): Promise<unknown> {
    return run(this.#client, script, args);
  }
}
