#!/usr/bin/env node
import { createRequire } from 'node:module';
import { type CommandLine, readCommandLine } from './arguments.js';
import { cancelCommand, removeCommand, retryCommand, sealCommand } from './change.js';
import type { Command, Given } from './command.js';
import { explainCommand } from './explain.js';
import { EXIT, failureOf, UsageError } from './failure.js';
import { helpOf, helpOfCommand } from './help.js';
import { listCommand } from './list.js';
import { failuresCommand, resultsCommand } from './members.js';
import { Output, wantsColours } from './output.js';
import {
  type BatchesPlace,
  DEFAULT_BATCHES_QUEUE,
  DEFAULT_PREFIX,
  DEFAULT_URL,
  openBatches,
  redisAddress,
} from './redis.js';
import { showCommand } from './show.js';
import { printable, quoted } from './text.js';
import { treeCommand } from './tree.js';
import { watchCommand } from './watch.js';

const COMMANDS: readonly Command[] = [
  listCommand,
  showCommand,
  treeCommand,
  watchCommand,
  explainCommand,
  resultsCommand,
  failuresCommand,
  retryCommand,
  sealCommand,
  cancelCommand,
  removeCommand,
];

async function main(argv: readonly string[]): Promise<number> {
  const plain = argv.includes('--no-color');
  const out = new Output(wantsColours(plain, process.env, process.stdout.isTTY === true));
  let redis = 'Redis';
  try {
    const line = readCommandLine(argv, COMMANDS);
    const { command, given } = line;
    if (given.flag('version')) {
      await out.line(version());
    } else if (command === undefined || given.flag('help')) {
      await out.write(command === undefined ? helpOf(COMMANDS, out.columns) : helpOfCommand(command, out.columns));
    } else {
      command.check?.(given);
      const address = addressOf(line);
      redis = address.name;
      return await run(line, command, { address, out });
    }
    return EXIT.ok;
  } catch (error) {
    const { message, exitCode } = failureOf(error, redis);
    await out.flush();
    out.warn(message);
    return exitCode;
  } finally {
    await out.finish();
  }
}

async function run(
  { id, given }: CommandLine,
  command: Command,
  { address, out }: { address: ReturnType<typeof redisAddress>; out: Output },
): Promise<number> {
  const { prefix, batchesQueue } = placeOf(given);
  const batches = await openBatches(address, { prefix, batchesQueue });
  const isDefault = batchesQueue === DEFAULT_BATCHES_QUEUE;
  const options = [
    ...(prefix === DEFAULT_PREFIX ? [] : ['--prefix', prefix]),
    ...(isDefault ? [] : ['--batches-queue', batchesQueue]),
  ];
  try {
    return await command.run({
      id,
      given,
      out,
      queue: batches.queue,
      findBatch: () => batches.queue.getBatch(id),
      where: `${address.name} with prefix '${prefix}'${isDefault ? '' : ` and queue '${batchesQueue}'`}`,
      commandLine(name, target, ...flags) {
        const place = target.startsWith('-') ? [...flags, ...options, '--', target] : [target, ...flags, ...options];
        return ['bullmq-batches', name, ...place].map(quoted).join(' ');
      },
    });
  } finally {
    await batches.close();
  }
}

/** @throws UsageError for a name that no queue can have. */
function placeOf(given: Given): BatchesPlace {
  const batchesQueue = given.text('batches-queue') ?? DEFAULT_BATCHES_QUEUE;
  if (batchesQueue.includes(':')) {
    throw new UsageError(`--batches-queue takes the name of a queue, without ':', not '${printable(batchesQueue)}'.`);
  }
  return { prefix: given.text('prefix') ?? DEFAULT_PREFIX, batchesQueue };
}

function addressOf({ given }: CommandLine) {
  const { REDIS_URL } = process.env;
  const flag = given.text('redis');
  return flag === undefined && REDIS_URL
    ? redisAddress(REDIS_URL, 'REDIS_URL')
    : redisAddress(flag ?? DEFAULT_URL, '--redis');
}

function version(): string {
  // The package imports itself by name, which works from the sources and from the build.
  return (createRequire(import.meta.url)('bullmq-batches/package.json') as { version: string }).version;
}

process.exit(await main(process.argv.slice(2)));
