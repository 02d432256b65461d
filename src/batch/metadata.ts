import { BatchNotFoundError } from '../errors.js';
import type { BatchLife } from '../record/add-members.js';
import { changeDefinition } from '../record/change-definition.js';
import { checkJson, checkObject } from '../validation.js';
import type { BatchContext } from './batch-context.js';
import { checkMetadata } from './batch-options.js';

type Metadata = Readonly<Record<string, unknown>>;

/** Sets some properties of a batch's metadata; setting them again changes nothing, whoever else has changed others. */
export async function updateMetadata(context: BatchContext, batch: BatchLife, change: unknown): Promise<Metadata> {
  checkObject('updateMetadata(change): the change', change);
  checkJson('updateMetadata(change): the change', change);
  let changed: Metadata = {};
  const isThere = await changeDefinition(context.redis, batch, [], (definition) => {
    changed = merged(definition.metadata, change);
    checkMetadata('updateMetadata(change): the metadata', changed);
    return JSON.stringify(changed) === JSON.stringify(definition.metadata)
      ? definition
      : { ...definition, metadata: changed };
  });
  if (!isThere) {
    throw new BatchNotFoundError(batch.id);
  }
  return changed;
}

function merged(before: Metadata = {}, change: Metadata): Metadata {
  return Object.fromEntries(Object.entries({ ...before, ...change }).filter(([, value]) => value !== undefined));
}
