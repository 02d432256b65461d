import { type QueueOptions, SpanKind } from 'bullmq';

/** BullMQ's interface to tracing, e.g. `new BullMQOtel({ tracerName: 'app' })`. */
export type Telemetry = NonNullable<QueueOptions['telemetry']>;

/**
 * Begins the trace of a batch, or continues the active one. `work` gets the trace context, by which any process finds
 * the trace later.
 */
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

/** Runs a part of a batch's work in the trace of the batch. */
export function inTrace<T>(telemetry: Telemetry | undefined, trace: string | undefined, work: () => T): T {
  if (telemetry === undefined || trace === undefined) {
    return work();
  }
  const { contextManager } = telemetry;
  return contextManager.with(contextManager.fromMetadata(contextManager.active(), trace), work);
}

/** A queue that BullMQ can trace. */
interface TracingQueue {
  readonly name: string;
  readonly queue: object;
}

type Trace = <T>(
  kind: SpanKind,
  operation: string,
  destination: string,
  work: (span: { setAttributes(attributes: object): void } | undefined, metadata?: string) => Promise<T>,
) => Promise<T>;

/**
 * Runs `work` inside of the spans that BullMQ's own `add` and `addBulk` open, one for each queue with telemetry;
 * `traceOf` returns the trace context that jobs of a queue carry.
 */
export function inProducerSpans<Q extends TracingQueue, T>(
  jobs: readonly { readonly name: string; readonly queue: Q }[],
  work: (traceOf: (queue: Q) => string | undefined) => Promise<T>,
): Promise<T> {
  const traces = new Map<Q, string | undefined>();
  const enter = (rest: readonly Q[]): Promise<T> => {
    const [first, ...others] = rest;
    if (first === undefined) {
      return work((queue) => traces.get(queue));
    }
    const { opts, trace } = first.queue as { readonly opts: { readonly telemetry?: unknown }; readonly trace?: Trace };
    if (opts.telemetry === undefined || trace === undefined) {
      return enter(others);
    }
    const own = jobs.filter(({ queue }) => queue === first);
    const [operation, destination] =
      own.length === 1 ? ['add', `${first.name}.${own[0]?.name}`] : ['addBulk', first.name];
    return trace.call(first.queue, SpanKind.PRODUCER, operation, destination, (_span, metadata) => {
      traces.set(first, metadata);
      return enter(others);
    }) as Promise<T>;
  };
  return enter([...new Set(jobs.map(({ queue }) => queue))]);
}
