import { type QueueOptions, SpanKind } from 'bullmq';

/** BullMQ's interface to tracing, e.g. `new BullMQOtel({ tracerName: 'app' })`. */
export type Telemetry = NonNullable<QueueOptions['telemetry']>;

/** Begins the trace of a batch, or a part of the trace that is active: `work` is given what to find it by later, in any process. */
export async function startTrace<T>(
  telemetry: Telemetry | undefined,
  batchId: string,
  work: (trace: string | undefined) => Promise<T>,
): Promise<T> {
  if (telemetry === undefined) {
    return work(undefined);
  }
  const { tracer, contextManager } = telemetry;
  const span = tracer.startSpan('createBatch', { kind: SpanKind.PRODUCER });
  try {
    span.setAttributes({ 'bullmq.batch.id': batchId });
    const context = span.setSpanOnContext(contextManager.active());
    return await contextManager.with(context, () => work(contextManager.getMetadata(context)));
  } catch (error) {
    span.recordException(error as Error);
    throw error;
  } finally {
    span.end();
  }
}

/** Does a part of a batch's work in its trace. */
export function inTrace<T>(telemetry: Telemetry | undefined, trace: string | undefined, work: () => T): T {
  if (telemetry === undefined || trace === undefined) {
    return work();
  }
  const { contextManager } = telemetry;
  return contextManager.with(contextManager.fromMetadata(contextManager.active(), trace), work);
}
