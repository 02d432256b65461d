#!/usr/bin/env node
import { createRequire } from 'node:module';
import { type CommandLine, readCommandLine } from './cli/arguments.js';
import { cancelCommand, removeCommand, retryCommand, sealCommand } from './cli/change.js';
import type { Command } from './cli/command.js';
import { explainCommand } from './cli/explain.js';
import { EXIT, failureOf } from './cli/failure.js';
import { helpOf, helpOfCommand } from './cli/help.js';
import { listCommand } from './cli/list.js';
import { failuresCommand, resultsCommand } from './cli/members.js';
import { Output, wantsColours } from './cli/output.js';
import { DEFAULT_PREFIX, DEFAULT_URL, openBatches, redisAddress } from './cli/redis.js';
import { showCommand } from './cli/show.js';
import { quoted } from './cli/text.js';
import { treeCommand } from './cli/tree.js';
import { watchCommand } from './cli/watch.js';

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
      await out.write(command === undefined ? helpOf(COMMANDS) : helpOfCommand(command));
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
  const prefix = given.text('prefix') ?? DEFAULT_PREFIX;
  const batches = await openBatches(address, prefix);
  const options = prefix === DEFAULT_PREFIX ? [] : ['--prefix', prefix];
  try {
    return await command.run({
      id,
      given,
      out,
      queue: batches.queue,
      findBatch: () => batches.queue.getBatch(id),
      where: `${address.name} with prefix '${prefix}'`,
      commandLine(name, target, ...flags) {
        const place = target.startsWith('-') ? [...flags, ...options, '--', target] : [target, ...flags, ...options];
        return ['bullmq-batches', name, ...place].map(quoted).join(' ');
      },
    });
  } finally {
    await batches.close();
  }
}

function addressOf({ given }: CommandLine) {
  const { REDIS_URL } = process.env;
  const flag = given.text('redis');
  return flag === undefined && REDIS_URL
    ? redisAddress(REDIS_URL, 'REDIS_URL')
    : redisAddress(flag ?? DEFAULT_URL, '--redis');
}

function version(): string {
  // The package names itself, so that it is found from the sources as from what was built.
  return (createRequire(import.meta.url)('bullmq-batches/package.json') as { version: string }).version;
}

process.exit(await main(process.argv.slice(2)));
