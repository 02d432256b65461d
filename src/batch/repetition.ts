import { createHash } from 'node:crypto';
import type { JobLike } from './queue-like.js';

/** How many contents are counted exactly; further ones share a few thousand counters, so that memory is bounded. */
const MOST_CONTENTS = 10_000;

/** How long the ids are at least: longer than those that are counted. */
export const DERIVED_LENGTH = 18;

const repetitions = new WeakMap<object, Repetition>();

/**
 * Makes the ids of what a running job adds, from the job, the content, and how often the run has added the same
 * content. A second run of the job makes the same ids, and adds only what is new. A job that runs in steps
 * (`moveToDelayed`, `moveToWaitingChildren`) may mean the same content anew in a later step: the number of the step is
 * part of the ids.
 */
export class Repetition {
  readonly #run: string;
  readonly #seen = new Map<string, number>();

  private constructor(run: string) {
    this.#run = run;
  }

  /**
   * Returns the maker of ids of this run, shared by all handles that were asked for with its job. Returns undefined
   * when it is not certain which run it is: another process than the worker has read the job, or its starts were reset.
   *
   * @param failures how often the job has failed, where its fields and stack traces do not tell.
   */
  static of(job: JobLike, failures = 0): Repetition | undefined {
    const known = repetitions.get(job);
    if (known !== undefined) {
      return known;
    }
    const step = stepOf(job, failures);
    if (step === undefined) {
      return undefined;
    }
    const repetition = new Repetition(`${job.queueQualifiedName}:${job.id}:${step}`);
    repetitions.set(job, repetition);
    return repetition;
  }

  /** Returns the next id for this content, of letters and digits: a different one each time in the same run. */
  nextId(...content: readonly unknown[]): string {
    const digest = digestOf([this.#run, ...content]);
    const isCounted = this.#seen.has(digest) || this.#seen.size < MOST_CONTENTS;
    const counter = isCounted ? digest : digest.slice(0, 2);
    const before = this.#seen.get(counter) ?? 0;
    this.#seen.set(counter, before + 1);
    return before === 0 ? digest : `${digest}.${before}`;
  }
}

/**
 * Returns the number of the step that a job is in: how often it was started, without the starts that ended in a failure
 * or a stall. A retry that resets the attempts keeps the stack traces, of which each failure has one unless their
 * number is limited.
 */
function stepOf(job: JobLike, failures: number): number | undefined {
  const { attemptsStarted, attemptsMade, stalledCounter, stacktrace } = job;
  if (!isRunByUs(job) || attemptsStarted === undefined || attemptsMade === undefined || stalledCounter === undefined) {
    return undefined;
  }
  const step = attemptsStarted - Math.max(failures, attemptsMade, tracesIn(stacktrace)) - stalledCounter;
  return step > 0 ? step : undefined;
}

/** Whether a job has an option by which it forgets older stack traces. */
export function keepsFewTraces(job: object): boolean {
  const { opts } = job as { readonly opts?: { readonly stackTraceLimit?: number } };
  return opts?.stackTraceLimit !== undefined;
}

/** A worker gives its jobs the token of their lock; a sandboxed processor gets a plain object with a job's methods. */
function isRunByUs(job: JobLike): boolean {
  const isSandboxed = Object.getPrototypeOf(job) === Object.prototype && 'updateProgress' in job;
  return typeof job.token === 'string' || isSandboxed;
}

/** In a sandboxed processor the stack traces are JSON. */
function tracesIn(stacktrace: unknown): number {
  const traces: unknown = typeof stacktrace === 'string' ? JSON.parse(stacktrace) : stacktrace;
  return Array.isArray(traces) ? traces.length : 0;
}

function digestOf(content: readonly unknown[]): string {
  const digest = createHash('sha1').update(jsonOf(content)).digest('base64url');
  return digest.replaceAll(/[-_]/g, '0').slice(0, DERIVED_LENGTH);
}

/** Data that JSON cannot carry is refused when the job is added, with an error that says so. */
function jsonOf(content: readonly unknown[]): string {
  try {
    return JSON.stringify(content);
  } catch {
    return '';
  }
}
