// A worker whose jobs fill batches; it dies before its n-th script.
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { withBatches } from '../../src/index.js';
import { childSettings } from './child-settings.js';
import { dieBeforeScript } from './doomed.js';
import { loader } from './loader.js';

const { connection, prefix, args } = childSettings<{ n: number; queue: string; lockDuration: number }>();
const redis = new Redis({ ...connection, maxRetriesPerRequest: null });
const users = withBatches(new Queue('users', { connection: redis, prefix }));
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
