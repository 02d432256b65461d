import { context, trace } from '@opentelemetry/api';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { UnrecoverableError } from 'bullmq';
import { BullMQOtel } from 'bullmq-otel';
import { Redis } from 'ioredis';
import { afterAll } from 'vitest';
import type { BatchWorkerOptions } from '../../src/index.js';
import { describe, eventually, expect, test } from '../support/test.js';

const spans = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] });
provider.register();
afterAll(() => {
  trace.disable();
  context.disable();
});
const telemetry = new BullMQOtel({ tracerName: 'test' }) as unknown as NonNullable<BatchWorkerOptions['telemetry']>;

/** The spans of the trace that a batch was created in. */
function traceOf(batchId: string): string[] {
  const all = spans.getFinishedSpans();
  const created = all.find(({ attributes }) => attributes['bullmq.batch.id'] === batchId);
  const traceId = created?.spanContext().traceId;
  return all.filter((span) => span.spanContext().traceId === traceId).map(({ name }) => name);
}

describe('with the telemetry of BullMQ', () => {
  test('a batch, its children, its members, callbacks and a retry are one trace', async ({ testbed }) => {
    const users = testbed.queue('users', { telemetry } as never);
    testbed.batchWorker({ telemetry });
    let isBroken = true;
    testbed.worker(
      'users',
      async (job) => {
        if (job.name === 'row' && isBroken) {
          throw new UnrecoverableError('no e-mail');
        }
      },
      { telemetry } as never,
    );
    testbed.worker('encoding', async () => {}, { telemetry } as never);
    const parent = await users.createBatch({
      on: { complete: { name: 'report' }, death: { name: 'warn' }, success: { name: 'publish' } },
    });
    const child = await parent.createBatch();
    await child.addBulk([
      { name: 'row', data: 1 },
      { name: 'row', data: 2 },
    ]);
    await child.addFlow({
      name: 'publish-video',
      queueName: 'users',
      children: [{ name: 'encode', queueName: 'encoding' }],
    });
    await child.seal();
    await parent.add('last', {});
    await parent.seal();
    await parent.waitUntilFinished();
    isBroken = false;
    await parent.retry();
    await eventually(async () => (await parent.status()).state === 'succeeded');

    const all = await eventually(() => {
      const names = traceOf(parent.id);
      return names.filter((name) => name === 'process users').length >= 8 ? names : undefined;
    });
    const count = (name: string) => all.filter((other) => other === name).length;
    expect(count('createBatch')).toBe(2);
    expect(count('addBulk users')).toBe(1);
    expect(count('add users.last')).toBe(1);
    expect(count('add users.warn')).toBe(1);
    expect(count('add users.report')).toBe(1);
    expect(count('add users.publish')).toBe(1);
    expect(count('process encoding')).toBe(1);
    // Two rows twice, the video, the last member, three callbacks.
    expect(count('process users')).toBe(9);
    expect(count('process batches')).toBeGreaterThan(2);
  });

  test('two batches are two traces, and what is created in a span is a part of its trace', async ({ testbed }) => {
    const users = testbed.queue('users', { telemetry } as never);
    const one = await users.createBatch();
    const other = await trace.getTracer('app').startActiveSpan('upload', async (span) => {
      const batch = await users.createBatch();
      span.end();
      return batch;
    });
    // What is added later joins the batch's trace, not that of whoever adds it.
    await trace.getTracer('app').startActiveSpan('later', async (span) => {
      await one.add('row', {});
      span.end();
    });
    expect(traceOf(other.id)).toContain('upload');
    expect(traceOf(one.id)).toContain('add users.row');
    expect(traceOf(one.id)).not.toContain('upload');
    expect(traceOf(one.id)).not.toContain('later');
  });

  test('a BatchWorker without telemetry passes the trace on to the callbacks', async ({ testbed }) => {
    const users = testbed.queue('users', { telemetry } as never);
    testbed.batchWorker();
    testbed.worker('users', async () => {}, { telemetry } as never);
    const batch = await users.addBatch({ on: { complete: { name: 'report' } } }, []);
    await batch.waitUntilFinished();
    await eventually(() => traceOf(batch.id).includes('process users'));
  });

  test("queues on one connection, of which one has it, do not get in each other's way", async ({ testbed }) => {
    const connection = new Redis({ ...testbed.connection, maxRetriesPerRequest: null });
    const plain = testbed.queue('plain', { connection } as never);
    const traced = testbed.queue('traced', { connection, telemetry } as never);
    const untold = await plain.createBatch();
    const told = await traced.createBatch();
    const dataOf = async ({ id }: { id: string }) => (await testbed.plainQueue('batches').getJob(id))?.data;
    expect(await dataOf(untold)).not.toHaveProperty('trace');
    expect(await dataOf(told)).toHaveProperty('trace');
    testbed.use({ close: async () => connection.disconnect() });
  });

  test('nothing is stored for a trace where there is no telemetry', async ({ testbed }) => {
    const users = testbed.queue('users');
    const { id } = await users.createBatch();
    expect((await testbed.plainQueue('batches').getJob(id))?.data).not.toHaveProperty('trace');
  });
});
