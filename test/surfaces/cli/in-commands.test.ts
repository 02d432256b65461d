import { inCommands } from '../../../src/surfaces/cli/in-commands.js';
import { expect, test } from '../../support/test.js';

test.for([
  ['Call seal() when everything has been added.', "Run 'bullmq-batches seal' when everything has been added."],
  [
    'This stage never starts: call remove({ force: true }).',
    "This stage never starts: run 'bullmq-batches remove --force'.",
  ],
  ['Adding to it, or seal(), revives it.', "Adding to it, or 'bullmq-batches seal', revives it."],
  [
    'Call seal() on every batch to which everything has been added.',
    "Run 'bullmq-batches seal' for every batch to which everything has been added.",
  ],
  [
    'batch.failures() lists the members that failed, and batch.retry() runs again what failed.',
    "'bullmq-batches failures' lists the members that failed, and 'bullmq-batches retry' runs again what failed.",
  ],
  [
    "Retry its job 'x' in that queue, or call batch.retry().",
    "Retry its job 'x' in that queue, or run 'bullmq-batches retry'.",
  ],
  ["Ask (await queue.getBatch('a:b')).explain() what holds it.", "Ask 'bullmq-batches explain' what holds it."],
  ["Ask (await queue.getBatch('O'Brien')).explain() what holds it.", "Ask 'bullmq-batches explain' what holds it."],
  // No command does these.
  ['The queue is paused, too: call queue.resume().', 'The queue is paused, too: call queue.resume().'],
  ['add jobs with batch.add()', 'add jobs with batch.add()'],
] as const)('%s → %s', ([sentence, said]) => {
  expect(inCommands(sentence)).toBe(said);
});
