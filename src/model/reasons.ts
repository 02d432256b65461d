import type {
  BatchExplanation,
  OutstandingCallback,
  OutstandingChildren,
  OutstandingMembers,
  OutstandingQueue,
} from './explanation.js';
import type { JobFacts, JobState } from './job-facts.js';
import { type BatchesPlace, CALLBACKS_QUEUE, DEFAULT_BATCHES_QUEUE, DEFAULT_PREFIX } from './place.js';
import { type BatchState, isClosed, isToBeRevived, plural, sentencePart } from './rules.js';
import type { CallbackSnapshot, Snapshot } from './snapshot.js';
import { list, reasonOfStage, reasonsOfStages, type StageFacts } from './stage-reasons.js';

/*
 * Sentences for people about what holds a batch, as a function of what was found. Nothing here asks Redis.
 */

/**
 * The order of the sentences. A missing BatchWorker comes first, because nothing else matters without one; what is
 * under way comes last, because it needs no action.
 */
const URGENCY = {
  'no batch goes on': 0,
  'a queue stands still': 1,
  'not sealed': 2,
  'goes wrong': 3,
  'goes on': 4,
} as const;

/** How to start a worker of a queue, in code. */
type Start = (queue: string) => string;

type Reason = readonly [urgency: keyof typeof URGENCY, sentence: string];

/** What was found, without the sentences about it. */
type Held = Omit<BatchExplanation, 'reasons'>;

const say = (urgency: keyof typeof URGENCY, sentence: string): Reason[] => [[urgency, sentence]];

export function reasonsFor(
  held: Held,
  snapshot: Snapshot,
  batchJob: JobFacts | undefined,
  { prefix, batchesQueue }: BatchesPlace,
  stages: readonly StageFacts[] = [],
): string[] {
  const late = lateFailures(snapshot).map(({ jobId }) => jobId);
  const given = prefix === DEFAULT_PREFIX ? ['connection'] : ['connection', `prefix: '${prefix}'`];
  const named = batchesQueue === DEFAULT_BATCHES_QUEUE ? given : [...given, `batchesQueue: '${batchesQueue}'`];
  const start = (queue: string) =>
    queue === CALLBACKS_QUEUE
      ? `new BatchWorker({ ${named.join(', ')}, callbacks })`
      : `new Worker('${queue}', processor, { ${given.join(', ')} })`;
  const reasons = [
    ...ofBatchWorkers(held.queues, `{ ${named.join(', ')} }`, batchesQueue),
    ...held.queues.flatMap((queue) => ofQueue(queue, held, start)),
    ...(isOpenStage(snapshot) ? ofOpenStage(snapshot, stages) : ofSeal(held, snapshot)),
    ...ofBatchJob(held, snapshot, batchJob),
    ...held.members.flatMap((group) => ofMembers(group, about(held), isClosed(snapshot), batchesQueue)),
    ...(snapshot.definition.run === undefined || isOpenStage(snapshot)
      ? held.children.flatMap(ofChildren)
      : ofStages(stages)),
    ...ofStrangers(held.strangers),
    ...held.callbacks.flatMap((callback) =>
      late.includes(callback.jobId)
        ? say('goes wrong', ofLateFailure(callback, snapshot))
        : ofCallback(callback, held.queues, start),
    ),
  ];
  if (reasons.length === 0) {
    return ['Nothing is outstanding any more: a BatchWorker finishes it within moments.'];
  }
  return reasons.sort(([a], [b]) => URGENCY[a] - URGENCY[b]).map(([, sentence]) => sentence);
}

function ofStages(stages: readonly StageFacts[]): Reason[] {
  return reasonsOfStages(stages).flatMap((sentence) => say('goes on', sentence));
}

/** A stage that has not started, or is being filled: it waits for no producer's seal. */
function isOpenStage(snapshot: Snapshot): boolean {
  return snapshot.definition.stage !== undefined && !isClosed(snapshot);
}

function ofOpenStage({ definition, startedAt }: Snapshot, stages: readonly StageFacts[]): Reason[] {
  const own = stages.find(({ name }) => name === definition.stage?.name);
  if (startedAt !== undefined) {
    return say('goes on', 'A BatchWorker is adding its members.');
  }
  if (own === undefined) {
    return say(
      'goes wrong',
      `Its run '${definition.parentId}' is gone: it was removed, or its data was deleted or evicted for want of ` +
        'memory. This stage never starts: call remove({ force: true }).',
    );
  }
  return say('goes on', reasonOfStage(own, stages));
}

export function reasonsOfFinished(state: BatchState, snapshot: Snapshot, stages: readonly StageFacts[] = []): string[] {
  const { finishedAt, failedReason, ended, counts, sealedAt, abandonedAt, cancelledAt } = snapshot;
  const why = ended === 'failed' && failedReason !== undefined ? `: ${sentencePart(failedReason)}` : '';
  return [
    `It has finished, at ${iso(finishedAt)}, with state '${state}'${why}${why.endsWith('…') ? '' : '.'}`,
    ...skippedStages(snapshot, stages),
    ...lateFailures(snapshot).map((callback) => ofLateFailure(callback, snapshot)),
    ...(cancelledAt !== undefined ? ['A cancelled batch stays so: create a new one for what is to run again.'] : []),
    ...(ended === 'failed' && cancelledAt === undefined ? whatToRetry(snapshot) : []),
    ...(counts.missing > 0 ? ['Missing members cannot be retried: add them to a new batch.'] : []),
    ...(sealedAt === undefined && abandonedAt !== undefined && cancelledAt === undefined
      ? [whatRevives(snapshot.definition)]
      : []),
  ];
}

/** Nothing can be added to an abandoned run, and it goes on only if it has all of its stages. */
function whatRevives({ id, run }: Snapshot['definition']): string {
  return run === undefined
    ? 'Adding to it, or seal(), revives it.'
    : `Call start() again with the id '${id}': the run goes on if all of its stages were created.`;
}

function whatToRetry({ counts, callbacks }: Snapshot): string[] {
  if (counts.failed > 0) {
    return ['batch.failures() lists the members that failed, and batch.retry() runs again what failed.'];
  }
  const hasFailedCallback = callbacks.some((callback) => callback.state === 'failed');
  return hasFailedCallback ? ['No member has failed: batch.retry() runs the callback again.'] : [];
}

/** Why the batch was skipped, if it is a stage; of a run, why stages of it were. */
function skippedStages({ definition }: Snapshot, stages: readonly StageFacts[]): string[] {
  return stages
    .filter(
      ({ name, state }) => state === 'skipped' && (definition.stage === undefined || name === definition.stage.name),
    )
    .map((stage) => reasonOfStage(stage, stages));
}

/**
 * Returns the callbacks that were registered after their event and have failed: the outcome of the batch does not show
 * them.
 */
function lateFailures({ ended, definition, callbacks }: Snapshot): CallbackSnapshot[] {
  return callbacks.filter(
    ({ event, index, state }) =>
      state === 'failed' && (ended === 'completed' || (ended === 'failed' && definition.on[event]?.[index]?.late)),
  );
}

function ofLateFailure(
  { event, queue, name, jobId, failedReason }: CallbackSnapshot | OutstandingCallback,
  { ended, cancelledAt }: Snapshot,
): string {
  const whose = ended === 'completed' ? 'The batch has succeeded, but its late' : 'Its late';
  const or = cancelledAt === undefined ? ', or call batch.retry()' : '';
  return (
    `${whose} ${event} callback '${name}' in queue '${queue}' has failed: ${sentencePart(failedReason)}. ` +
    `Retry its job '${jobId}' in that queue${or}.`
  );
}

function ofBatchWorkers(queues: readonly OutstandingQueue[], options: string, batchesQueue: string): Reason[] {
  const batches = queues.find(({ name }) => name === batchesQueue);
  return [
    ...(batches?.workers === 0
      ? say('no batch goes on', `No BatchWorker is running: start one with new BatchWorker(${options}).`)
      : []),
    ...(batches?.paused
      ? say(
          'no batch goes on',
          `The queue '${batchesQueue}' is paused, so no batch goes on: resume it, e.g. in Bull Board.`,
        )
      : []),
  ];
}

/** What a group of members does, as a verb for one and for many. */
const DOING: Readonly<Partial<Record<JobState, string>>> = {
  active: 'running',
  waiting: 'waiting',
  prioritized: 'waiting by priority',
  delayed: 'delayed',
  'waiting-children': 'waiting for jobs below them in their flow',
};

/** The beginning of a sentence whose numbers are estimates. */
function about({ sampled }: Held): string {
  return sampled === undefined ? '' : 'About ';
}

function ofQueue(queue: OutstandingQueue, held: Held, start: Start): Reason[] {
  const groups = held.members.filter((group) => group.queue === queue.name && DOING[group.state] !== undefined);
  if (groups.length === 0) {
    return [];
  }
  const parts = groups.map(
    ({ state, count }, i) => `${i === 0 ? countMembers(count) : count} ${are(count)} ${DOING[state]}`,
  );
  return inQueue(`${about(held)}${list(parts)}`, queue, start);
}

/** Makes a sentence about something in a queue, with what keeps the queue from going on. */
function inQueue(what: string, { name, workers, paused }: OutstandingQueue, start: Start): Reason[] {
  const where = `${what} in queue '${name}'`;
  if (workers === 0) {
    const alsoPaused = paused ? ' The queue is paused, too: call queue.resume().' : '';
    return say(
      'a queue stands still',
      `${where}, and no worker is connected to it: start one with ${start(name)}.${alsoPaused}`,
    );
  }
  if (paused) {
    return say('a queue stands still', `${where}, which is paused: call queue.resume().`);
  }
  const connected = workers === undefined ? '' : `; ${plural(workers, 'worker')} ${are(workers)} connected to it`;
  return say('goes on', `${where}${connected}.`);
}

function ofSeal(
  { sealed, createdAt, lastSignOfLifeAt }: Held,
  { ended, abandonedAt, cancelledAt, cancelReason, definition }: Snapshot,
): Reason[] {
  if (cancelledAt !== undefined && ended === undefined) {
    const why = cancelReason === undefined ? '' : ` (${cancelReason})`;
    return say(
      'goes on',
      `It was cancelled at ${iso(cancelledAt)}${why}, and finishes when what is running has ended and its ` +
        'callbacks have run.',
    );
  }
  if (sealed || ended !== undefined) {
    return [];
  }
  if (abandonedAt !== undefined) {
    return say(
      'not sealed',
      `It was abandoned at ${iso(abandonedAt)}: it was never sealed, and its producer gave no sign of life. It ` +
        (definition.run === undefined
          ? 'fails when its callbacks have run; adding to it, or seal(), revives it.'
          : 'fails when its stages have been skipped and its callbacks have run.'),
    );
  }
  const sign =
    lastSignOfLifeAt === undefined
      ? 'nothing was added'
      : `its producer's last sign of life was at ${iso(lastSignOfLifeAt)}`;
  if (definition.run !== undefined) {
    return say(
      'not sealed',
      `It has not begun: it has been open since ${iso(createdAt)}, and ${sign}. If start() is not running any more, ` +
        `call start() again with the id '${definition.id}'.`,
    );
  }
  return say(
    'not sealed',
    `It is not sealed: it has been open since ${iso(createdAt)}, and ${sign}. Call seal() when everything has ` +
      'been added.',
  );
}

function ofBatchJob({ state }: Held, snapshot: Snapshot, batchJob: JobFacts | undefined): Reason[] {
  if (snapshot.ended !== undefined) {
    return isToBeRevived(snapshot)
      ? say('goes wrong', 'It had failed, and what failed is being run again: a BatchWorker reopens it within seconds.')
      : say('goes on', `It has finished, at ${iso(snapshot.finishedAt)}, with state '${state}', and stays so.`);
  }
  return isClosed(snapshot) && batchJob?.state === 'delayed' && batchJob.failedReason !== undefined
    ? say(
        'goes wrong',
        `The last step of its BatchWorker failed, and is tried again: ${sentencePart(batchJob.failedReason)}.`,
      )
    : [];
}

function ofStrangers(keys: readonly string[]): Reason[] {
  const [first] = keys;
  if (first === undefined) {
    return [];
  }
  const what = `${plural(keys.length, 'job')} that ${keys.length === 1 ? 'is no member was' : 'are no members were'}`;
  return say(
    'goes wrong',
    `${what} attached to it by hand, e.g. '${first}', and it waits for ${keys.length === 1 ? 'it' : 'them'}: ` +
      'detach such a job with job.removeChildDependency(), and add jobs with batch.add().',
  );
}

function ofMembers(
  { queue, state, count, failing, oldest }: OutstandingMembers,
  begin: string,
  closed: boolean,
  batchesQueue: string,
): Reason[] {
  const members = queue === batchesQueue ? plural(count, 'child batch', 'child batches') : countMembers(count);
  const what = `${begin}${members}`;
  const has = count === 1 ? 'has' : 'have';
  const mender = closed ? 'a BatchWorker' : 'once the batch is sealed, a BatchWorker';
  switch (state) {
    case 'no job':
      return say(
        'goes wrong',
        `${what} in queue '${queue}' ${has} no job, e.g. '${oldest[0]?.id}': removed, or never stored. Add what is ` +
          `lost again, with the same ids, or ${mender} counts it as missing after 'missingAfter'.`,
      );
    case 'completed':
    case 'failed':
      return say(
        'goes wrong',
        `${what} in queue '${queue}' ${has} ${state}, but the batch still waits for ` +
          `${count === 1 ? 'it' : 'them'}: ${mender} corrects that within seconds.`,
      );
    default:
      return failing === 0 ? [] : say('goes wrong', `${begin}${ofFailing(queue, state, failing, oldest)}`);
  }
}

function ofFailing(queue: string, state: JobState, failing: number, oldest: OutstandingMembers['oldest']): string {
  const last = oldest.find(({ failedReason }) => failedReason !== undefined);
  const example = last === undefined ? '' : `, e.g. '${last.name}' (${last.id}): ${sentencePart(last.failedReason)}`;
  const what = `${failing} of the members that are ${DOING[state]} in queue '${queue}'`;
  return `${what} ${failing === 1 ? 'has' : 'have'} failed before and ${are(failing)} tried again${example}.`;
}

function ofChildren({ state, count, oldest }: OutstandingChildren): Reason[] {
  const what = `${plural(count, 'child batch', 'child batches')} ${are(count)}`;
  const [first] = oldest;
  const name = first === undefined ? '' : `, e.g. ${first.description ?? 'batch'} (${first.id})`;
  if (state === 'open') {
    return say(
      'not sealed',
      `${what} not sealed${name}. Call seal() on every batch to which everything has been added.`,
    );
  }
  const how = first === undefined ? '' : ` Ask (await queue.getBatch('${first.id}')).explain() what holds it.`;
  return say('goes on', `${what} running${name}.${how}`);
}

function ofCallback(
  { event, queue, name, state, jobState, attemptsMade, failedReason }: OutstandingCallback,
  queues: readonly OutstandingQueue[],
  start: Start,
): Reason[] {
  const what = `The ${event} callback '${name}'`;
  if (state === 'pending') {
    return say('goes on', `${what} is due: a BatchWorker enqueues it.`);
  }
  if (state === 'failed') {
    return say(
      'goes wrong',
      `${what} in queue '${queue}' has failed: ${sentencePart(failedReason)}. The batch fails when it finishes; ` +
        'batch.retry() then runs the callback again.',
    );
  }
  const facts = queues.find((one) => one.name === queue) ?? { name: queue, workers: undefined, paused: false };
  return [
    ...inQueue(`${what} is ${DOING[jobState] ?? 'outstanding'}`, facts, start),
    ...(failedReason === undefined
      ? []
      : say(
          'goes wrong',
          `${what} has failed ${plural(attemptsMade, 'attempt')} and is tried again: ${sentencePart(failedReason)}.`,
        )),
  ];
}

const countMembers = (count: number) => plural(count, 'member');

const are = (count: number) => (count === 1 ? 'is' : 'are');

const iso = (time: number | undefined) => (time === undefined ? 'an unknown time' : new Date(time).toISOString());
