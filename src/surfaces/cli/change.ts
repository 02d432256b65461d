import { createInterface } from 'node:readline';
import { BatchNotFoundError, type BatchStatus } from '../../index.js';
import { type Call, type Command, type Given, JSON_OPTION, type Options } from './command.js';
import { EXIT, Failure, UsageError } from './failure.js';
import { called, number, plural, printable } from './text.js';

/*
 * The commands that change something.
 */

const YES: Options = { yes: { type: 'boolean', short: 'y', help: 'do not ask; needed where nobody can be asked' } };

export const retryCommand: Command = {
  name: 'retry',
  takesId: true,
  summary: 'Runs again what has failed in a batch, and in the batches below it',
  options: JSON_OPTION,
  async run(call) {
    const { retried } = await (await call.findBatch()).retry();
    const nothing = retried === 0 ? ': nothing has failed, or the jobs are gone' : '';
    await tell(
      call,
      { retried },
      `${plural(retried, 'job')} of batch ${call.id} run${retried === 1 ? 's' : ''} again${nothing}.`,
    );
    if (retried > 0) {
      await warnWithoutBatchWorker(call);
    }
    return EXIT.ok;
  },
};

export const sealCommand: Command = {
  name: 'seal',
  takesId: true,
  summary: 'Says that everything has been added to a batch: now it can finish',
  options: JSON_OPTION,
  async run(call) {
    const batch = await call.findBatch();
    const { sealed } = await batch.status();
    await batch.seal();
    await tell(call, { sealed: true }, sealed ? `Batch ${call.id} was sealed before.` : `Batch ${call.id} is sealed.`);
    await warnWithoutBatchWorker(call);
    return EXIT.ok;
  },
};

export const cancelCommand: Command = {
  name: 'cancel',
  takesId: true,
  summary: 'Stops a batch and the batches below it: what has not started is removed',
  details: [
    'Running members may finish, but are not tried again. This cannot be undone: a cancelled batch cannot be retried.',
  ],
  options: {
    reason: { type: 'string', value: 'TEXT', help: 'why, for the status and the callbacks' },
    ...YES,
    ...JSON_OPTION,
  },
  check: mayGoOn,
  async run(call) {
    const { findBatch, id, given } = call;
    const batch = await findBatch();
    const status = await batch.status();
    if (!(await agrees(`Cancel ${standing(status)}?`, given))) {
      return refused(call);
    }
    const reason = given.text('reason');
    await batch.cancel(reason);
    const { cancelled, pending } = await batch.status();
    const rest = pending === 0 ? '' : `, ${number(pending)} still pending`;
    await tell(
      call,
      { cancelled: true, ...(reason === undefined ? {} : { reason }) },
      `Batch ${id} is cancelled: ${plural(cancelled, 'member')} removed${rest}.`,
    );
    await warnWithoutBatchWorker(call);
    return EXIT.ok;
  },
};

export const removeCommand: Command = {
  name: 'remove',
  takesId: true,
  summary: 'Removes a finished batch with the batches below it and the jobs of its callbacks',
  options: {
    force: { type: 'boolean', help: 'also an unfinished one: it is cancelled first, and its callbacks do not run' },
    members: { type: 'boolean', help: "the members' jobs too" },
    ...YES,
    ...JSON_OPTION,
  },
  check: mayGoOn,
  async run(call) {
    const { findBatch, id, given, commandLine } = call;
    const [force, members] = [given.flag('force'), given.flag('members')];
    const batch = await findBatch();
    const status = await batch.status();
    if (status.finishedAt === undefined && !force) {
      const [wait, anyway] = [commandLine('watch', id), commandLine('remove', id, '--force')];
      throw new Failure(
        `Batch '${id}' has not finished: wait for it with '${wait}', or cancel and remove it with '${anyway}'.`,
      );
    }
    if (!(await agrees(`Remove ${standing(status)}${members ? ", and its members' jobs" : ''}?`, given))) {
      return refused(call);
    }
    await batch.remove({ force, members });
    await tell(call, { removed: true, members }, `Batch ${id} is removed${members ? ", with its members' jobs" : ''}.`);
    return EXIT.ok;
  },
};

async function tell({ id, given, out }: Call, what: object, sentence: string): Promise<void> {
  await (given.flag('json') ? out.json({ id, ...what }) : out.line(printable(sentence)));
}

async function refused({ out }: Call): Promise<number> {
  out.warn('nothing was done.');
  return EXIT.failed;
}

const standing = (status: BatchStatus) =>
  `${called(status)} (${status.state}, ${number(status.pending)} of ${plural(status.total, 'member')} pending)`;

/** Without a terminal to ask at, the command line must say --yes. */
function mayGoOn(given: Given): void {
  if (!given.flag('yes') && process.stdin.isTTY !== true) {
    throw new UsageError('This cannot be undone, and there is no terminal to ask at: say --yes.');
  }
}

/** Asks on standard error: standard output is for what was done. The end of the input is a no. */
async function agrees(question: string, given: Given): Promise<boolean> {
  if (given.flag('yes')) {
    return true;
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await new Promise<string>((resolve) => {
    terminal.once('close', () => resolve('\n'));
    terminal.once('SIGINT', () => process.exit(EXIT.interrupted));
    terminal.question(`${question} y/N `, resolve);
  });
  terminal.close();
  if (answer === '\n') {
    process.stderr.write(answer);
  }
  return /^y(es)?$/i.test(answer.trim());
}

async function warnWithoutBatchWorker({ findBatch, out }: Call): Promise<void> {
  try {
    const { queues } = await (await findBatch()).explain();
    if (queues[0]?.workers === 0) {
      await out.flush();
      out.warn('no BatchWorker is connected: nothing goes on until one runs.');
    }
  } catch (error) {
    if (!(error instanceof BatchNotFoundError)) {
      throw error;
    }
  }
}
