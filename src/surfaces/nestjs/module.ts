import { BullModule, getQueueToken, type RegisterQueueOptions } from '@nestjs/bullmq';
import { type DynamicModule, Logger, Module, type ModuleMetadata, type Provider } from '@nestjs/common';
import { DiscoveryModule, DiscoveryService, MetadataScanner, Reflector } from '@nestjs/core';
import type { Queue } from 'bullmq';
import { BatchWorker, type BatchWorkerOptions, withBatches } from '../../index.js';
import { callbacksIn, type Discovery } from './callbacks.js';
import { getBatchesToken } from './decorators.js';

/**
 * Options of `BatchesModule.forRoot()`: those of the BatchWorker, whose callbacks are the methods of your providers.
 */
export type BatchesModuleOptions = Omit<BatchWorkerOptions, 'callbacks'>;

/** Options of `BatchesModule.forRootAsync()`. */
export interface BatchesModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  /** What the factory is given. Default: nothing. */
  readonly inject?: readonly (string | symbol | (abstract new (...args: never[]) => unknown))[];
  /** Makes the options. */
  readonly useFactory: (...args: never[]) => BatchesModuleOptions | Promise<BatchesModuleOptions>;
}

const OPTIONS = 'bullmq-batches:options';

/**
 * Batches in a Nest application: `forRoot()` starts a BatchWorker with the application, which runs the methods with
 * `@BatchCallback(name)`, and closes it with the application; `register()` registers queues with batch methods.
 *
 * @example
 * \@Module({
 *   imports: [
 *     BullModule.forRoot({ connection }),
 *     BatchesModule.forRoot({ connection }),
 *     BatchesModule.register('users'),
 *   ],
 * })
 * export class AppModule {}
 */
// biome-ignore lint/complexity/noStaticOnlyClass: Nest's modules are classes
export class BatchesModule {
  /**
   * Starts a BatchWorker with the application. A process that only adds to batches needs none.
   *
   * @param options the connection, and what else a BatchWorker takes.
   */
  static forRoot(options: BatchesModuleOptions): DynamicModule {
    return BatchesModule.forRootAsync({ useFactory: () => options });
  }

  /**
   * Starts a BatchWorker with the application, with options that depend on other providers.
   *
   * @param options `{ imports?, inject?, useFactory }`, as of Nest's own modules.
   */
  static forRootAsync({ imports = [], inject = [], useFactory }: BatchesModuleAsyncOptions): DynamicModule {
    const worker: Provider = {
      provide: ApplicationBatchWorker,
      useFactory: (options: BatchesModuleOptions, discovery: DiscoveryService, scanner, reflector) =>
        new ApplicationBatchWorker(options, { discovery, scanner, reflector }),
      inject: [OPTIONS, DiscoveryService, MetadataScanner, Reflector],
    };
    return {
      module: BatchesModule,
      imports: [...imports, DiscoveryModule],
      providers: [{ provide: OPTIONS, useFactory: useFactory as never, inject: [...inject] as never }, worker],
    };
  }

  /**
   * Registers queues, as `BullModule.registerQueue()` does, and their batch methods, for `@InjectBatches(name)`.
   *
   * @param queues their names, or the options of `BullModule.registerQueue()`.
   */
  static register(...queues: readonly (string | (RegisterQueueOptions & { readonly name: string }))[]): DynamicModule {
    const options = queues.map((queue) => (typeof queue === 'string' ? { name: queue } : queue));
    const bull = BullModule.registerQueue(...options);
    const providers = options.map(({ name }) => ({
      provide: getBatchesToken(name),
      useFactory: (queue: Queue) => withBatches(queue),
      inject: [getQueueToken(name)],
    }));
    return {
      module: BatchesModule,
      imports: [bull],
      providers,
      exports: [bull, ...providers.map(({ provide }) => provide)],
    };
  }
}

Module({})(BatchesModule);

/** The BatchWorker of an application, from its start to its end. */
class ApplicationBatchWorker {
  readonly #options: BatchesModuleOptions;
  readonly #discovery: Discovery;
  readonly #logger = new Logger('BatchesModule');
  #worker: BatchWorker | undefined;

  constructor(options: BatchesModuleOptions, discovery: Discovery) {
    this.#options = options;
    this.#discovery = discovery;
  }

  onApplicationBootstrap(): void {
    const callbacks = callbacksIn(this.#discovery);
    const hasCallbacks = Object.keys(callbacks).length > 0;
    this.#worker = new BatchWorker({ ...this.#options, ...(hasCallbacks ? { callbacks } : {}) });
    this.#worker.on('error', (error) => this.#logger.error(error));
    this.#worker.on('callbackFailed', ({ name, batchId, error }) =>
      this.#logger.error(`Callback '${name}' of batch '${batchId}': ${error.message}`, error.stack),
    );
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#worker?.close();
  }
}
