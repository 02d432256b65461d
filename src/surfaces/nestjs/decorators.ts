import { Inject, SetMetadata } from '@nestjs/common';

/** Under which Nest keeps, on a method, the name of the callback that it runs. */
export const CALLBACK = 'bullmq-batches:callback';

/** Returns the token under which Nest provides a queue with batch methods. */
export function getBatchesToken(queue: string): string {
  return `BullBatches_${queue}`;
}

/**
 * Injects the queue with batch methods that `BatchesModule.register(name)` has registered.
 *
 * @example
 * constructor(@InjectBatches('users') private readonly users: BatchQueue<Queue<User>>) {}
 */
export function InjectBatches(queue: string): PropertyDecorator & ParameterDecorator {
  return Inject(getBatchesToken(queue));
}

/**
 * Makes a method of a provider the callback of this name: the BatchWorker of `BatchesModule.forRoot()` runs it with the
 * callback's job, for batches with `on: { complete: name }`.
 *
 * @example
 * \@BatchCallback('finished-import')
 * async finished(job: CallbackJob) {
 *   await this.mails.send(`${job.data.batch.failed} rows have failed`);
 * }
 */
export function BatchCallback(name: string): MethodDecorator {
  return SetMetadata(CALLBACK, name);
}
