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
  readonly sweepIntervalMs: number;
  /** Ms between two rounds of the services that mend damage, and that remove batches. */
  readonly reconcileIntervalMs: number;
  /** After how many ms a member of a closed batch that has no job counts as missing. */
  readonly missingAfterMs: number;
}

/** Returns the services of maintenance, the most urgent first. */
export function servicesOf(
  context: BatchContext,
  { sweepIntervalMs, reconcileIntervalMs, missingAfterMs }: MaintenanceOptions,
): Service[] {
  const lostMembers = new LostMembers(context, missingAfterMs);
  return [
    firstFailures(context, sweepIntervalMs),
    deadlines(context, sweepIntervalMs),
    cancels(context, sweepIntervalMs),
    lateCallbacks(context, sweepIntervalMs),
    attempted(context, sweepIntervalMs),
    unfinishedBatches(context, reconcileIntervalMs, lostMembers),
    lostMembers,
    failedBatches(context, reconcileIntervalMs),
    retriedElsewhere(context, reconcileIntervalMs),
    orphanedStages(context, reconcileIntervalMs),
    expiry(context, reconcileIntervalMs),
    removals(context, reconcileIntervalMs),
    dropped(context, reconcileIntervalMs),
  ];
}
