import type { Home } from '../../batch/home.js';
import { attempted } from './attempted.js';
import { cancels } from './cancels.js';
import { dropped } from './dropped.js';
import { expiry } from './expiry.js';
import { failedBatches } from './failed-batches.js';
import { firstFailures } from './first-failures.js';
import { lateCallbacks } from './late-callbacks.js';
import { LostMembers } from './lost-members.js';
import { orphanedStages } from './orphaned-stages.js';
import { removals } from './removals.js';
import { RetriedElsewhere } from './retried-elsewhere.js';
import type { Service } from './service.js';
import { unfinishedBatches } from './unfinished-batches.js';

export interface MaintenanceOptions {
  /** Ms between two rounds of what is to be told, or acted upon, soon. */
  readonly sweepIntervalMs: number;
  /** Ms between two rounds of what mends damage, and of what takes batches away. */
  readonly reconcileIntervalMs: number;
  /** Ms for which a member of a closed batch may be registered without having a job. */
  readonly missingAfterMs: number;
}

/** All that is maintained, the most urgent first. */
export function servicesOf(
  home: Home,
  { sweepIntervalMs, reconcileIntervalMs, missingAfterMs }: MaintenanceOptions,
): Service[] {
  const lostMembers = new LostMembers(home, missingAfterMs);
  const retriedElsewhere = new RetriedElsewhere(home, reconcileIntervalMs);
  return [
    firstFailures(home, sweepIntervalMs),
    cancels(home, sweepIntervalMs),
    lateCallbacks(home, sweepIntervalMs),
    attempted(home, sweepIntervalMs),
    unfinishedBatches(home, reconcileIntervalMs, lostMembers),
    lostMembers,
    failedBatches(home, reconcileIntervalMs),
    retriedElsewhere,
    orphanedStages(home, reconcileIntervalMs),
    expiry(home, reconcileIntervalMs),
    removals(home, reconcileIntervalMs),
    dropped(home, reconcileIntervalMs),
  ];
}
