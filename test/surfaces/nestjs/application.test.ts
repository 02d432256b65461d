import 'reflect-metadata';
import { BullModule, InjectQueue, Processor, WorkerHost } from '@nestjs/bullmq';
import { Injectable, Module, Scope } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Job, Queue } from 'bullmq';
import type { BatchQueue, CallbackJob } from '../../../src/index.js';
import { BatchCallback, BatchesModule, getBatchesToken, InjectBatches } from '../../../src/surfaces/nestjs/index.js';
import { describe, expect, type Testbed, test } from '../../support/test.js';

type User = { name: string };

const OPTIONS = { logger: false, abortOnError: false } as const;

/** What an application that imports users has done. */
class Log {
  readonly lines: string[] = [];
}

class Imports {
  @InjectBatches('users') readonly users!: BatchQueue<Queue<User>>;
  @InjectQueue('users') readonly sameQueue!: Queue<User>;
  @InjectQueue('mails') readonly mails!: Queue;
  @InjectBatches('mails') readonly mailBatches!: BatchQueue<Queue>;
  readonly log = new Log();

  start(names: string[]) {
    const rows = names.map((name) => ({ name: 'import', data: { name } }));
    return this.users.addBatch({ on: { complete: 'finished-import' }, description: 'Import' }, rows);
  }

  @BatchCallback('finished-import')
  finished({ data: { batch } }: CallbackJob) {
    this.log.lines.push(`${batch.description}: ${batch.succeeded} of ${batch.total}`);
  }
}
Injectable()(Imports);

class UserProcessor extends WorkerHost {
  async process({ data }: Job<User>) {
    if (data.name === '') throw new Error('no name');
    return data.name.length;
  }
}
Processor('users')(UserProcessor);

function moduleOf({ connection, prefix }: Testbed, ...providers: (new () => object)[]) {
  class AppModule {}
  Module({
    imports: [
      BullModule.forRoot({ connection, prefix }),
      BatchesModule.forRoot({ connection, prefix, sweepInterval: 50 }),
      BatchesModule.register('users', { name: 'mails', defaultJobOptions: { attempts: 3 } }),
    ],
    providers: [Imports, UserProcessor, ...providers],
  })(AppModule);
  return AppModule;
}

async function started(testbed: Testbed, ...providers: (new () => object)[]) {
  testbed.owns('users');
  testbed.owns('mails');
  return testbed.use(await NestFactory.createApplicationContext(moduleOf(testbed, ...providers), OPTIONS));
}

describe('BatchesModule', () => {
  test('an application adds a batch, works it off, and runs its callback on a method of a provider', async ({
    testbed,
  }) => {
    const imports = (await started(testbed)).get(Imports);
    expect(imports.users).toBe(imports.sameQueue);
    expect(imports.mailBatches.defaultJobOptions).toMatchObject({ attempts: 3 });
    const batch = await imports.start(['Ada', 'Grace', '']);
    expect(await batch.waitUntilFinished(20_000)).toMatchObject({ state: 'failed', succeeded: 2, failed: 1 });
    expect(imports.log.lines).toEqual(['Import: 2 of 3']);
  });

  test('the queue with batch methods is found by its token; the BatchWorker closes with the application', async ({
    testbed,
  }) => {
    const application = await started(testbed);
    const users = application.get<BatchQueue<Queue<User>>>(getBatchesToken('users'));
    const batch = await users.createBatch();
    await application.close();
    const other = testbed.queue('users');
    expect((await (await other.getBatch(batch.id)).explain()).reasons[0]).toContain('No BatchWorker is running');
  });

  test('a callback of two methods, and one on a provider of a request, are refused at the start', async ({
    testbed,
  }) => {
    class Second {
      @BatchCallback('finished-import')
      finished() {}
    }
    Injectable()(Second);
    await expect(started(testbed, Second)).rejects.toThrow("two methods with @BatchCallback('finished-import')");
    class OfRequest {
      @BatchCallback('other')
      other() {}
    }
    Injectable({ scope: Scope.REQUEST })(OfRequest);
    await expect(started(testbed, OfRequest)).rejects.toThrow("@BatchCallback('other') is on a method of OfRequest");
  });

  test('the options of the BatchWorker may come from a factory', async ({ testbed }) => {
    testbed.owns('users');
    const { connection, prefix } = testbed;
    class AppModule {}
    Module({
      imports: [
        BullModule.forRoot({ connection, prefix }),
        BatchesModule.forRootAsync({ useFactory: async () => ({ connection, prefix }) }),
        BatchesModule.register('users'),
      ],
    })(AppModule);
    const application = testbed.use(await NestFactory.createApplicationContext(AppModule, OPTIONS));
    const users = application.get<BatchQueue<Queue<User>>>(getBatchesToken('users'), { strict: false });
    expect(await (await users.addBatch({}, [])).waitUntilFinished(20_000)).toMatchObject({ state: 'succeeded' });
  });
});
