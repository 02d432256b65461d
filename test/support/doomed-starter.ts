// A producer that dies before its n-th script, while it starts a run.
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { withBatches } from '../../src/index.js';
import { childSettings } from './child-settings.js';
import { dieBeforeScript } from './doomed.js';
import { everyKindOfStage } from './graph.js';

const { connection, prefix, args } = childSettings<{ n: number; id: string }>();
dieBeforeScript(args.n);
const redis = new Redis({ ...connection, maxRetriesPerRequest: null });
await everyKindOfStage(withBatches(new Queue('work', { connection: redis, prefix }))).start({}, { id: args.id });
process.exit(0);
