import { stageId } from '../model/workflow.js';
import { readDefinition } from '../record/change-definition.js';
import type { BatchContext } from './batch-context.js';

/** Returns the id of the batch whose members' results are those of this one: of a run, that of its output stage. */
export async function sourceOfResults(context: BatchContext, batchId: string): Promise<string> {
  let source = batchId;
  for (let output: string | undefined = ''; output !== undefined; ) {
    output = (await readDefinition(context.redis, source))?.run?.output;
    source = output === undefined ? source : stageId(source, output);
  }
  return source;
}
