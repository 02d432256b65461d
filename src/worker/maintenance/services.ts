import type { BatchContext } from '../../batch/batch-context.js';
import { attempted } from './attempted.js';
import { cancels } from './cancels.js';
import { deadlines } from './deadlines.js';
import { dropped } from './dropped.js';
import { expiry } from './expiry.js';
import { failedBatches } from './failed-batches.js';
import { firstFailures } from './first-failures.js';
import { lateCallbacks } from './late-callbacks.js';
import { LostMembers } from './lost-members.js';
import { orphanedStages } from './orphaned-stages.js';
import { removals } from './removals.js';
import { retriedElsewhere } from './retried-elsewhere.js';
import type { Service } from './service.js';
import { unfinishedBatches } from './unfinished-batches.js';

export interface MaintenanceOptions {
  /** Ms between two rounds of the services that have to act soon, e.g. for first failures, deadlines and cancels. */
  readonly sweepInterval: number;
  /** Ms between two rounds of the services that mend damage, and that remove batches. */
  readonly reconcileInterval: number;
  /** After how many ms a member of a closed batch that has no job counts as missing. */
  readonly missingAfter: number;
}

/** Returns the services of maintenance, the most urgent first. */
export function servicesOf(
  context: BatchContext,
  { sweepInterval, reconcileInterval, missingAfter }: MaintenanceOptions,
): Service[] {
  const lostMembers = new LostMembers(context, missingAfter);
  return [
    firstFailures(context, sweepInterval),
    deadlines(context, sweepInterval),
    cancels(context, sweepInterval),
    lateCallbacks(context, sweepInterval),
    attempted(context, sweepInterval),
    unfinishedBatches(context, reconcileInterval, lostMembers),
    lostMembers,
    failedBatches(context, reconcileInterval),
    retriedElsewhere(context, reconcileInterval),
    orphanedStages(context, reconcileInterval),
    expiry(context, reconcileInterval),
    removals(context, reconcileInterval),
    dropped(context, reconcileInterval),
  ];
}
