// A BatchWorker that dies before its n-th script.
import { Redis } from 'ioredis';
import { BatchWorker } from '../../src/index.js';
import { childSettings } from './child-settings.js';
import { dieBeforeScript } from './doomed.js';

const { connection, prefix, args } = childSettings<{ n: number; lockDuration: number; last: string }>();
dieBeforeScript(args.n);
const worker = new BatchWorker({
  connection: new Redis({ ...connection, maxRetriesPerRequest: null }),
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
