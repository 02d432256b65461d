import { createHash } from 'node:crypto';
import type { BatchContext } from '../batch/batch-context.js';
import type { Member } from '../batch/member-jobs.js';
import { countMembers } from '../batch/members.js';
import { sourceOfResults } from '../batch/output.js';
import { readCursor, writeCursor } from '../batch/paging.js';
import { resultsPage } from '../batch/settled.js';
import { inTrace } from '../batch/trace.js';
import { BatchFinishedError, BatchNotFoundError, BatchSealedError } from '../errors.js';
import type { BatchDefinition } from '../model/definition.js';
import { stageId } from '../model/workflow.js';
import { markCancelled } from '../record/cancel.js';
import { jobKey } from '../record/keys.js';
import { noteFilled, PLAN_SLICE, readFilling, readPlan } from '../record/plan.js';
import { SCAN_START } from '../record/scan-place.js';
import { sealBatch } from '../record/seal.js';
import { readSnapshot } from '../record/snapshot.js';
import { plannedMembers, stageMember } from './start-stage.js';

/** After so many slices the batch job goes back to its queue, so that a large stage holds up no other batch. */
const SLICES_PER_TURN = 50;

/** The end of the last slice. */
const END = '';
/** The end of the last slice when the results that it was made of were removed: some may never have been read. */
const LOST = 'lost';

interface Slice {
  readonly members: readonly Member[];
  /** Where the next slice begins. */
  readonly next: string;
}

/**
 * Adds the members of a stage that has started, slice by slice, and seals it: from its plan, or one for each result of
 * another stage. The id of each comes from its position, or from the member whose result it is: what was added before a
 * crash is recognized. A stage made of results that were removed is cancelled.
 *
 * @returns 'more' when there is more to add, in another turn.
 */
export async function fill(context: BatchContext, batchId: string): Promise<'done' | 'more'> {
  const filling = await readFilling(context.redis, batchId);
  if (filling === undefined) {
    return 'done';
  }
  const { definition } = filling;
  const slices = await sliceReader(context, definition);
  let from = filling.filledTo;
  for (let turns = 0; turns < SLICES_PER_TURN && from !== END; turns++) {
    const { members, next } = await slices(from);
    if (members.length > 0 && !(await add(context, definition, members))) {
      return 'done';
    }
    if (next === LOST) {
      const { forEach } = definition.stage ?? {};
      const reason = `the results of stage '${forEach}' were removed`;
      await markCancelled(context.redis, batchId, { reason, nonce: definition.nonce });
      return 'done';
    }
    from = next;
  }
  if (from !== END) {
    await noteFilled(context.redis, definition, from);
    return 'more';
  }
  await sealBatch(context.redis, definition);
  return 'done';
}

/** False when nothing can be added any more: the stage was cancelled, or sealed by hand, meanwhile. */
async function add(context: BatchContext, definition: BatchDefinition, members: readonly Member[]): Promise<boolean> {
  try {
    await inTrace(context.telemetry, definition.trace, () =>
      countMembers(context, { batch: definition, links: [] }, members),
    );
    return true;
  } catch (error) {
    if (
      error instanceof BatchFinishedError ||
      error instanceof BatchSealedError ||
      error instanceof BatchNotFoundError
    ) {
      return false;
    }
    throw error;
  }
}

async function sliceReader(
  context: BatchContext,
  definition: BatchDefinition,
): Promise<(from: string) => Promise<Slice>> {
  const { forEach } = definition.stage ?? {};
  if (forEach === undefined) {
    return (from) => plannedSlice(context, definition, Number(from));
  }
  const source = await sourceOfResults(context, stageId(definition.parentId ?? '', forEach));
  return (from) => resultsSlice(context, definition, source, from);
}

async function plannedSlice(context: BatchContext, definition: BatchDefinition, at: number): Promise<Slice> {
  const slice = await readPlan(context.redis, definition.id, at);
  return slice === undefined
    ? { members: [], next: END }
    : { members: plannedMembers(context, definition, slice), next: String(at + 1) };
}

async function resultsSlice(
  context: BatchContext,
  { stage, nonce }: BatchDefinition,
  source: string,
  from: string,
): Promise<Slice> {
  const { results, next } = await resultsPage(context, source, {
    place: readCursor(from) ?? SCAN_START,
    count: PLAN_SLICE,
  });
  const { job } = stage ?? {};
  const members = results.flatMap(({ queue, id, value }) =>
    value === null || job === undefined
      ? []
      : [stageMember(context, { ...job, data: value }, memberId(nonce, jobKey(context.redis.prefix, queue, id)))],
  );
  if (next !== undefined) {
    return { members, next: writeCursor(next) };
  }
  // A removal marks the batch before it takes results away: what is there in the end was there all the time.
  return { members, next: (await readSnapshot(context.redis, source)) === undefined ? LOST : END };
}

/** Short, because a batch keeps the id of every member; it begins as the ids of members do, see record/strangers.ts. */
function memberId(nonce: string, sourceKey: string): string {
  return `${nonce}-${createHash('sha1').update(sourceKey).digest('base64url').slice(0, 16)}`;
}
