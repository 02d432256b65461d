import type { BatchState } from './rules.js';
import type { MemberCounts } from './snapshot.js';
import type { When } from './workflow.js';

/*
 * What holds the stages of a run, said to people.
 */

/** What is to be known of a stage. */
export interface StageFacts extends MemberCounts {
  readonly name: string;
  readonly id: string;
  readonly state: BatchState;
  readonly after: readonly string[];
  readonly when: When;
}

/** A sentence for each stage that has not finished, or was skipped; those that run first. */
export function reasonsOfStages(stages: readonly StageFacts[]): string[] {
  const ranked = [
    stages.filter(isRunning),
    ...(['waiting', 'skipped'] as const).map((state) => inState(stages, state)),
  ];
  return ranked.flat().map((stage) => reasonOfStage(stage, stages));
}

/** What becomes of one stage of a run, with all stages of the run. */
export function reasonOfStage(stage: StageFacts, stages: readonly StageFacts[]): string {
  const before = stages.filter(({ name }) => stage.after.includes(name));
  switch (stage.state) {
    case 'waiting':
      return `stage '${stage.name}' waits for ${list(awaited(before))}.`;
    case 'skipped':
      return skipped(stage, before);
    default:
      return `stage '${stage.name}' is ${stage.state}: ${progress(stage)}${ask(stage)}.`;
  }
}

function inState(stages: readonly StageFacts[], state: BatchState): StageFacts[] {
  return stages.filter((stage) => stage.state === state);
}

function isRunning({ state }: StageFacts): boolean {
  return state === 'running' || state === 'finishing' || state === 'open';
}

function progress({ pending, total, state }: StageFacts): string {
  return state === 'finishing' ? 'callbacks are outstanding' : `${pending} of ${total} members pending`;
}

function ask({ id }: StageFacts): string {
  return `; (await queue.getBatch('${id}')).explain() says what holds it`;
}

/** The stages that it still waits for; none when they have finished this moment, and it is about to start. */
function awaited(before: readonly StageFacts[]): string[] {
  const left = before.filter((stage) => isRunning(stage) || stage.state === 'waiting');
  return left.length === 0
    ? [before.length === 0 ? 'its run to begin' : 'a BatchWorker, which starts it within moments']
    : left.map((stage) => `'${stage.name}': ${stage.state === 'waiting' ? 'waiting itself' : progress(stage)}`);
}

function skipped({ name, when }: StageFacts, before: readonly StageFacts[]): string {
  if (when === 'failure') {
    return `stage '${name}' was skipped: nothing that it comes after has failed.`;
  }
  const causes = before.filter(({ state }) => state === 'failed' || state === 'cancelled' || state === 'skipped');
  const why = causes.map(
    (stage) => `'${stage.name}' ${stage.state === 'failed' ? 'has failed' : `was ${stage.state}`}`,
  );
  return `stage '${name}' was skipped${why.length === 0 ? '' : `: ${list(why)}`}.`;
}

export function list(parts: readonly string[]): string {
  return parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`;
}
