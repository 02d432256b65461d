import type { ScriptClient } from './client.js';
import { run, type Script, type ScriptArgument } from './script.js';

/** One Redis and prefix, as the scripts need it. */
export class BatchRedis {
  readonly prefix: string;
  readonly #client: ScriptClient;

  constructor(client: ScriptClient, prefix: string) {
    this.#client = client;
    this.prefix = prefix;
  }

  run(script: Script, args: readonly ScriptArgument[]): Promise<unknown> {
    return run(this.#client, script, args);
  }
}
