import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { BatchWorker, type BatchWorkerOptions, withBatches } from '../../src/index.js';
import { everyKindOfStage, recovering } from './graph.js';
import { loader } from './loader.js';
import type { Testbed } from './test.js';

/** What `runChild()` passes to a program. */
export interface ChildSettings<Args> extends Pick<Testbed, 'connection' | 'prefix'> {
  readonly args: Args;
}

/** Programs that `runChild()` starts. Those that are doomed die before their n-th script. */
export const children = {
  /** Finishes batches, until the last one has finished. */
  doomedBatchWorker(settings: ChildSettings<{ n: number; lockDuration: number; last: string }>): void {
    const { prefix, args } = settings;
    dieBeforeScript(args.n);
    const worker = new BatchWorker({
      connection: redisOf(settings),
      prefix,
      lockDuration: args.lockDuration,
      // The key that says when stalled batches were last looked for lives as long as the interval of whoever looked.
      stalledInterval: 200,
      reconcileInterval: 3_600_000,
      sweepInterval: 200,
    });
    worker.on('finished', ({ batchId }) => {
      if (batchId === args.last) process.exit(0);
    });
  },

  /** Creates, fills and seals a batch that can be resumed. */
  async doomedProducer(settings: ChildSettings<{ n: number; id: string; members: number }>): Promise<void> {
    const { n, id, members } = settings.args;
    dieBeforeScript(n);
    await queueOf(settings, 'users').addBatch(
      { id, on: { success: { name: 'success' } } },
      Array.from({ length: members }, (_, n) => ({ name: 'member', data: { n } })),
    );
    process.exit(0);
  },

  /** Runs a job that fills a batch. */
  async doomedLoader(settings: ChildSettings<{ n: number; queue: string; lockDuration: number }>): Promise<void> {
    const { prefix, args } = settings;
    const redis = redisOf(settings);
    const users = queueOf(settings, 'users', redis);
    await users.waitUntilReady();
    dieBeforeScript(args.n);
    const worker = new Worker(args.queue, loader(users), {
      connection: redis,
      prefix,
      lockDuration: args.lockDuration,
      stalledInterval: 200,
      // On a busy machine a lock of half a second is lost now and then, and the job runs again.
      maxStalledCount: 50,
    });
    worker.on('error', () => {});
    worker.on('completed', () => process.exit(0));
  },

  /** Starts a run. */
  async doomedStarter(settings: ChildSettings<{ n: number; id: string }>): Promise<void> {
    const { n, id } = settings.args;
    dieBeforeScript(n);
    await everyKindOfStage(queueOf(settings, 'work')).start({}, { id });
    process.exit(0);
  },

  /** Retries a run. */
  async doomedRetrier(settings: ChildSettings<{ n: number; id: string }>): Promise<void> {
    const { n, id } = settings.args;
    dieBeforeScript(n);
    const run = await recovering(queueOf(settings, 'work')).getRun(id);
    await run.retry();
    process.exit(0);
  },

  /** Is a BatchWorker of a machine whose clock is wrong. */
  async skewedBatchWorker(
    settings: ChildSettings<{ skewMs: number; options: Partial<BatchWorkerOptions> }>,
  ): Promise<void> {
    const { connection, prefix, args } = settings;
    const { now } = Date;
    Date.now = () => now() + args.skewMs;
    const worker = new BatchWorker({ connection, prefix, ...args.options });
    worker.on('error', (error) => console.log(`error: ${error.message}`));
    await worker.waitUntilReady();
    console.log('ready');
  },
};

/**
 * Makes this process kill itself with SIGKILL just before it sends its n-th script: between any two commands is a place
 * where a crash can happen, and every n is one of them.
 */
function dieBeforeScript(n: number): void {
  const send = Redis.prototype.sendCommand;
  let scripts = 0;
  Redis.prototype.sendCommand = function (command, stream) {
    if (/^eval/i.test(command.name) && ++scripts === n) {
      process.kill(process.pid, 'SIGKILL');
    }
    return send.call(this, command, stream);
  };
}

function redisOf({ connection }: ChildSettings<unknown>): Redis {
  return new Redis({ ...connection, maxRetriesPerRequest: null });
}

function queueOf(settings: ChildSettings<unknown>, name: string, connection = redisOf(settings)) {
  return withBatches(new Queue(name, { connection, prefix: settings.prefix }));
}
