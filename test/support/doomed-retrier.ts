// A process that dies before its n-th script, while it retries a run.
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { withBatches } from '../../src/index.js';
import { childSettings } from './child-settings.js';
import { dieBeforeScript } from './doomed.js';
import { recovering } from './graph.js';

const { connection, prefix, args } = childSettings<{ n: number; id: string }>();
dieBeforeScript(args.n);
const redis = new Redis({ ...connection, maxRetriesPerRequest: null });
const run = await recovering(withBatches(new Queue('work', { connection: redis, prefix }))).getRun(args.id);
await run.retry();
process.exit(0);
