import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { Redis } from 'ioredis';

/** On a shared server, others may keep the background thread that frees memory busy for as long as they like. */
const MAX_MS_TO_FREE = 60_000;

/**
 * With more bytes per key the table of all keys is about to become smaller. Redis leaves it as it is down to one bucket
 * in ten in use, which makes 80 bytes of buckets per key, and some 40 of its entry.
 */
const TABLE_BYTES_PER_KEY = 150;

/** What both BullMQ and ioredis take as a connection. */
export interface Connection {
  readonly host: string;
  readonly port: number;
  readonly username?: string;
  readonly password?: string;
  readonly db?: number;
  readonly tls?: object;
}

/** The Redis that is measured: its own figures, and the keys that runs leave in it. */
export class BenchRedis {
  readonly connection: Connection;
  readonly #client: Redis;

  constructor(readonly url: string) {
    this.connection = connectionOf(url);
    this.#client = new Redis(this.connection);
  }

  /** The CPU time in µs that the server has used since it was started. */
  async cpuMicros(): Promise<number> {
    const cpu = await this.#info('cpu');
    return (Number(cpu.used_cpu_user) + Number(cpu.used_cpu_sys)) * 1_000_000;
  }

  /** The bytes that its data takes. */
  async usedMemory(): Promise<number> {
    return Number((await this.#info('memory')).used_memory);
  }

  /**
   * Waits until the table of all keys has become smaller after a removal. Redis does that in the background, and what
   * is measured meanwhile would seem to take less memory than it does. To be called when there are keys again.
   */
  async shrunk(): Promise<void> {
    const until = performance.now() + MAX_MS_TO_FREE;
    while (
      (await this.#tableBytes()) > TABLE_BYTES_PER_KEY * (await this.#client.dbsize()) &&
      performance.now() < until
    ) {
      await pause(50);
    }
  }

  /** The bytes of the keys with this prefix that are to be counted. */
  async bytesOfKeys(prefix: string, isCounted: (key: string) => boolean): Promise<number> {
    let sum = 0;
    for await (const found of this.#client.scanStream({ match: `${prefix}:*`, count: 1000 })) {
      const keys = new Set((found as string[]).filter(isCounted));
      const sizes = await Promise.all([...keys].map((key) => this.#client.memory('USAGE', key, 'SAMPLES', 0)));
      sum += sizes.reduce<number>((bytes, size) => bytes + (size ?? 0), 0);
    }
    return sum;
  }

  /** What a look at one command of Redis's needs: other clients may run it while the measurement goes on. */
  get client(): Redis {
    return this.#client;
  }

  async version(): Promise<string> {
    const { server_name: name = 'redis', redis_version, valkey_version } = await this.#info('server');
    return `${name} ${valkey_version ?? redis_version}`;
  }

  /** The id of the server's process, on the server's machine. */
  async processId(): Promise<number> {
    return Number((await this.#info('server')).process_id);
  }

  /**
   * Runs `fn` with a prefix that nobody else has, and removes what it has written. A batch stores it with every member:
   * it is as long as BullMQ's own, 'bull'.
   */
  async withPrefix<T>(fn: (prefix: string) => Promise<T>): Promise<T> {
    const prefix = randomBytes(2).toString('hex');
    try {
      return await fn(prefix);
    } finally {
      await this.#remove(prefix);
    }
  }

  async close(): Promise<void> {
    await this.#client.quit();
  }

  /** Waits until the memory is free again, too: the next run must not pay for the end of this one. */
  async #remove(prefix: string): Promise<void> {
    for await (const keys of this.#client.scanStream({ match: `${prefix}:*`, count: 1000 })) {
      if (keys.length > 0) {
        await this.#client.unlink(keys as string[]);
      }
    }
    const until = performance.now() + MAX_MS_TO_FREE;
    while (Number((await this.#info('memory')).lazyfree_pending_objects) > 0 && performance.now() < until) {
      await pause(20);
    }
  }

  async #tableBytes(): Promise<number> {
    const stats = (await this.#client.call('MEMORY', 'STATS')) as readonly unknown[];
    const ofDatabase = stats[stats.indexOf(`db.${this.connection.db ?? 0}`) + 1] as readonly unknown[];
    return Number(ofDatabase[ofDatabase.indexOf('overhead.hashtable.main') + 1]);
  }

  async #info(section: string): Promise<Record<string, string>> {
    const lines = (await this.#client.info(section)).split('\r\n');
    return Object.fromEntries(
      lines.filter((line) => line.includes(':')).map((line) => line.split(':', 2) as [string, string]),
    );
  }
}

function connectionOf(url: string): Connection {
  const { protocol, hostname, port, username, password, pathname } = new URL(url);
  return {
    host: hostname,
    port: Number(port || 6379),
    ...(username ? { username: decodeURIComponent(username) } : {}),
    ...(password ? { password: decodeURIComponent(password) } : {}),
    ...(pathname.length > 1 ? { db: Number(pathname.slice(1)) } : {}),
    ...(protocol === 'rediss:' ? { tls: {} } : {}),
  };
}
