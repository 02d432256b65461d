import { stageId } from '../model/workflow.js';
import { readDefinition } from '../record/change-definition.js';
import type { BatchContext } from './batch-context.js';

/** Returns the id of the batch whose members' results are those of this one: of a run, that of its output stage. */
export async function sourceOfResults(context: BatchContext, batchId: string): Promise<string> {
  const output = (await readDefinition(context.redis, batchId))?.run?.output;
  return output === undefined ? batchId : sourceOfResults(context, stageId(batchId, output));
}
