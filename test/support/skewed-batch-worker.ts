// A BatchWorker of a machine whose clock is wrong.
import { BatchWorker, type BatchWorkerOptions } from '../../src/index.js';
import { childSettings } from './child-settings.js';

const { connection, prefix, args } = childSettings<{ skewMs: number; options: Partial<BatchWorkerOptions> }>();
const { now } = Date;
Date.now = () => now() + args.skewMs;
const worker = new BatchWorker({ connection, prefix, ...args.options });
worker.on('error', (error) => console.log(`error: ${error.message}`));
await worker.waitUntilReady();
console.log('ready');
