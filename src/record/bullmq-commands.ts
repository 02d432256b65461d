import { RedisConnection } from 'bullmq';
import { BatchError } from '../errors.js';
import type { DefinedScript, ScriptClient } from './client.js';

/**
 * What BullMQ sends to Redis to add one job: the script's versioned name, e.g. 'addStandardJob:6.7.0', its keys and
 * arguments.
 */
export interface AddCommand {
  readonly name: string;
  readonly args: readonly (string | Buffer)[];
}

/** A BullMQ job that has not been added yet. */
export interface AddableJob {
  /** The key of the job above it. */
  readonly parentKey?: string | undefined;
  addJob(client: never, parentOptions: object): Promise<unknown>;
}

/**
 * Records the command with which BullMQ would add a job, instead of sending it. BullMQ gives the command to its client
 * before it waits for anything: BullMQ 6, and 5 from 5.80 on, call `runCommand(name, args)`; earlier versions call a
 * method of that name.
 *
 * @param isParent whether the job waits for others below it, which are added after it.
 * @throws what BullMQ throws for options or data that it refuses.
 */
export function recordAdd(job: AddableJob, { isParent }: { readonly isParent: boolean }): AddCommand {
  let recorded: AddCommand | undefined;
  const record = (name: string, args: AddCommand['args']) => {
    recorded = { name, args };
    return '';
  };
  const recorder = new Proxy(
    {},
    {
      get: (_, method) =>
        method === 'runCommand' ? record : (args: AddCommand['args']) => record(String(method), args),
    },
  );
  const { parentKey } = job;
  const parentOptions = {
    ...(isParent ? { addToWaitingChildren: true } : {}),
    ...(parentKey === undefined ? {} : { parentKey, parentDependenciesKey: `${parentKey}:dependencies` }),
  };
  job.addJob(recorder as never, parentOptions).catch(() => {});
  if (recorded === undefined) {
    throw new BatchError(
      'This version of BullMQ adds jobs in a way that this version of bullmq-batches does not know: install one ' +
        'of the versions of BullMQ that its README names.',
    );
  }
  return recorded;
}

let shipped: ReadonlyMap<string, DefinedScript> | undefined;

/**
 * Returns the text of a BullMQ script that runs on this client. ioredis keeps what BullMQ has defined on it. For the
 * other clients of BullMQ 6 the text is what the installed BullMQ would define.
 *
 * @throws BatchError when the text cannot be found.
 */
export function bullmqScript(client: ScriptClient, name: string): DefinedScript {
  const [command = ''] = name.split(':');
  const found = client.scriptsSet?.[name] ?? shippedScripts().get(command);
  if (found === undefined) {
    throw new BatchError(
      `Batches add jobs with BullMQ's own script '${name}', whose text this Redis client does not show: use ioredis, ` +
        'or a version of BullMQ that is supported.',
    );
  }
  return found;
}

/** Returns the scripts that BullMQ defines on a new client, by letting it define them on a recorder. */
function shippedScripts(): ReadonlyMap<string, DefinedScript> {
  if (shipped === undefined) {
    const scripts = new Map<string, DefinedScript>();
    const recorder = {
      defineCommand: (name: string, script: DefinedScript) => void scripts.set(name.split(':')[0] ?? '', script),
    };
    const { loadCommands } = RedisConnection.prototype as unknown as {
      loadCommands(this: { _client: typeof recorder }, version: string): void;
    };
    loadCommands?.call({ _client: recorder }, 'shipped');
    shipped = scripts;
  }
  return shipped;
}
