import type { ScriptClient } from './client.js';
import type { BatchesPlace } from './keys.js';
import { run, type Script, type ScriptArgument } from './script.js';

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

  run(script: Script, args: readonly ScriptArgument[]): Promise<unknown> {
    return run(this.#client, script, args);
  }
}
