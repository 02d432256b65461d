// The process whose memory `memory.ts` is about: it adds the jobs of its task, and reports.
import { measure } from './compare.js';
import { openQueue, producerFor } from './jobs.js';
import type { ProducerReport, ProducerTask } from './memory.js';
import { BenchRedis } from './redis.js';

const SAMPLE_INTERVAL_MS = 10;

const { url, prefix, side, jobs } = JSON.parse(process.argv[2] ?? '') as ProducerTask;
const redis = new BenchRedis(url);
const queue = await openQueue(redis.connection, prefix);
const producer = await producerFor(side, queue);

const rssBefore = process.memoryUsage.rss();
let rssMax = rssBefore;
const sample = () => {
  rssMax = Math.max(rssMax, process.memoryUsage.rss());
};
const sampling = setInterval(sample, SAMPLE_INTERVAL_MS);
const measured = await measure(redis, () => producer.add(jobs));
clearInterval(sampling);
sample();

await queue.close();
await redis.close();
const report: ProducerReport = { ...measured, rssBefore, rssMax, rssPeak: process.resourceUsage().maxRSS * 1024 };
process.send?.(report, () => process.disconnect());
