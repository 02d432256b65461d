import { BatchOptionsError } from '../errors.js';
import { checkKeys, describe } from '../validation.js';
import type { FailurePolicy } from './definition.js';

/** A share of the batch's members, e.g. '5%' or '99.5%'. */
export type Percentage = `${number}%`;

/**
 * What failures do to a batch. Members, jobs and child batches alike, count when they have failed for good.
 *
 * - `'continue'`: they are counted, and the batch fails when everything has settled.
 * - `'allow'`: they are recorded and shown, and the batch succeeds all the same when no member is missing or cancelled.
 * - `'cancel'`: the first one cancels the rest, as `batch.cancel()` does; the same as `{ cancelAfter: 1 }`.
 * - `cancelAfter`: so many, or such a share, cancel the rest. A share is judged once the batch is sealed, of all its
 *   members.
 * - `succeedIf`: `success` fires, and the batch succeeds, when at least this share of the members succeeded and none is
 *   missing.
 */
export type OnFailure =
  | 'continue'
  | 'allow'
  | 'cancel'
  | {
      /** How many failed members, or which share of all members, cancel the rest. */
      readonly cancelAfter?: number | Percentage;
      /** Which share of the members must have succeeded for the batch to succeed. */
      readonly succeedIf?: Percentage;
    };

/** Returns the policy as it is stored; undefined when failures are only counted. */
export function policyOf(onFailure: unknown): FailurePolicy | undefined {
  if (onFailure === undefined || onFailure === 'continue') {
    return undefined;
  }
  if (onFailure === 'allow') {
    return { succeedIfPercent: 0 };
  }
  if (onFailure === 'cancel') {
    return { cancelAfter: 1 };
  }
  if (typeof onFailure !== 'object' || onFailure === null || Array.isArray(onFailure)) {
    throw new BatchOptionsError(
      `onFailure must be 'continue', 'allow', 'cancel' or { cancelAfter?, succeedIf? }, not ${describe(onFailure)}.`,
    );
  }
  checkKeys('onFailure', onFailure, ['cancelAfter', 'succeedIf']);
  const { cancelAfter, succeedIf } = onFailure as Record<string, unknown>;
  if (cancelAfter === undefined && succeedIf === undefined) {
    throw new BatchOptionsError(`onFailure needs 'cancelAfter' or 'succeedIf', e.g. { cancelAfter: 100 }.`);
  }
  return {
    ...(succeedIf === undefined ? {} : { succeedIfPercent: percentOf('onFailure.succeedIf', succeedIf) }),
    ...(cancelAfter === undefined ? {} : limitOf(cancelAfter)),
  };
}

function limitOf(cancelAfter: unknown): FailurePolicy {
  if (typeof cancelAfter === 'string') {
    return { cancelAtPercent: percentOf('onFailure.cancelAfter', cancelAfter) };
  }
  if (!(Number.isInteger(cancelAfter) && Number(cancelAfter) > 0)) {
    throw new BatchOptionsError(
      `onFailure.cancelAfter must be a positive integer or a percentage like '5%', not ${describe(cancelAfter)}.`,
    );
  }
  return { cancelAfter: Number(cancelAfter) };
}

function percentOf(what: string, value: unknown): number {
  const percent = typeof value === 'string' && /^\d+(\.\d+)?%$/.test(value) ? Number.parseFloat(value) : Number.NaN;
  if (!(percent > 0 && percent <= 100)) {
    throw new BatchOptionsError(
      `${what} must be a percentage from above 0% to 100%, like '5%', not ${describe(value)}.`,
    );
  }
  return percent;
}
