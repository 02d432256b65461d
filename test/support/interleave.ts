import { setTimeout as pause } from 'node:timers/promises';
import { inject } from 'vitest';
import type { BatchWorker, BatchWorkerOptions } from '../../src/index.js';
import type { HeldConnection } from './held-connection.js';
import { notePositions } from './positions.js';
import type { Testbed } from './test.js';

/** How many situations are played at the same time: most of their time is waiting. */
const AT_ONCE = 4;
const PATIENCE_MS = 12_000;
const AN_HOUR = 3_600_000;

// biome-ignore lint/suspicious/noExplicitAny: whatever the constructor of an error takes
type ErrorClass = abstract new (...args: any[]) => Error;

export interface Interleaving<S> {
  /**
   * Sets up a fresh situation, in a prefix of its own. The actor uses `held.connection`, all others
   * `testbed.connection`.
   */
  setup(testbed: Testbed, held: HeldConnection): Promise<S>;
  /** What is stopped before each of its commands: one call, or what makes a BatchWorker on the held connection work. */
  actor(situation: S): Promise<unknown>;
  /** What the others do while the actor is held. It must be able to end without the actor. */
  other(situation: S): Promise<unknown>;
  /**
   * What the others do before each earlier command of the actor, which is so slow that they always have the time: for
   * what goes wrong only when something happens between two pairs of its commands.
   */
  between?(situation: S): Promise<unknown>;
  /** Throws unless the outcome is right. */
  verdict(situation: S, outcome: Outcome): Promise<void>;
  /** The errors with which either may end; any other one fails the position. */
  readonly refusals?: { readonly actor?: readonly ErrorClass[]; readonly other?: readonly ErrorClass[] };
}

export interface Outcome {
  readonly actor: PromiseSettledResult<unknown>;
  readonly other: PromiseSettledResult<unknown>;
  /** Before which command of the actor it was held; undefined when the other one began after the actor had ended. */
  readonly position: number | undefined;
}

export interface LostReplies<S> extends Pick<Interleaving<S>, 'setup' | 'actor'> {
  /** Throws unless the effect is that of one undisturbed call; gets what the call resolved with. */
  verdict(situation: S, result: unknown): Promise<void>;
}

export interface Played {
  /** How many positions were played: at how many commands the actor was really held, or lost a reply. */
  readonly positions: number;
  /** The names of the commands that the actor sends when nothing disturbs it. */
  readonly commands: readonly string[];
}

/** What was seen of one situation. */
interface Seen {
  readonly commands: readonly string[];
  /** Whether the actor came as far as the position. */
  readonly isReached: boolean;
}

/**
 * Plays a pair of actors in every order that matters: the one is held before each of its commands in turn, the other
 * runs to its end meanwhile, the first goes on, and the verdict looks at what became of it. First, to count the
 * commands, the actor runs undisturbed and the other one after it.
 */
export function interleave<S>(testbed: Testbed, pair: Interleaving<S>): Promise<Played> {
  return playAll(testbed, (own, held, position) => race(own, held, pair, position));
}

/**
 * Plays a call as often as it sends commands, and loses the reply of each in turn: it must resolve, with the same
 * effect.
 */
export function withLostReplies<S>(testbed: Testbed, call: LostReplies<S>): Promise<Played> {
  return playAll(testbed, (own, held, position) => lose(own, held, call, position));
}

async function race<S>(
  testbed: Testbed,
  held: HeldConnection,
  pair: Interleaving<S>,
  position?: number,
): Promise<Seen> {
  const situation = await begin(testbed, held, pair);
  const { actor, stopped } = await stopAt(situation, held, pair, position);
  const seen = { commands: [...held.commands], isReached: stopped !== undefined };
  const where = stopped ? `held before command ${stopped.position} (${stopped.name})` : 'the other one after the actor';
  return naming(where, async () => {
    const other = await outcomeOf('the other one, while the actor is held,', pair.other(situation));
    held.release();
    const outcome = { actor: await outcomeOf('the actor', actor), other, position: stopped?.position };
    check('the actor', outcome.actor, pair.refusals?.actor);
    check('the other one', outcome.other, pair.refusals?.other);
    await patiently('the verdict', pair.verdict(situation, outcome));
    return seen;
  });
}

/** Sets the actor to work, and stops it at the position. */
async function stopAt<S>(situation: S, held: HeldConnection, pair: Interleaving<S>, position = 0) {
  const { between } = pair;
  if (position > 0) {
    held.holdBefore(between === undefined ? position : 1);
  }
  const actor = pair.actor(situation);
  let stopped = await patiently('the actor', held.heldOrEnded(actor));
  while (between !== undefined && stopped !== undefined && stopped.position < position) {
    await patiently('the others, between two commands of the actor,', between(situation));
    held.holdBefore(stopped.position + 1);
    stopped = await patiently('the actor', held.heldOrEnded(actor));
  }
  if (stopped === undefined) {
    // Its BatchWorker lives on, and must not stop at the position later, in what the other one does.
    held.release();
  }
  return { actor, stopped };
}

async function lose<S>(testbed: Testbed, held: HeldConnection, call: LostReplies<S>, position?: number): Promise<Seen> {
  const situation = await begin(testbed, held, call);
  if (position !== undefined) {
    held.loseReply(position);
  }
  const outcome = await outcomeOf('the call', call.actor(situation));
  await held.idle();
  const seen = { commands: [...held.commands], isReached: held.hasLost };
  const lost = position === undefined ? undefined : seen.commands[position - 1];
  return naming(lost === undefined ? 'undisturbed' : `reply lost of command ${position} (${lost})`, async () => {
    check('the call', outcome, []);
    const result = outcome.status === 'fulfilled' ? outcome.value : undefined;
    await patiently('the verdict', call.verdict(situation, result));
    return seen;
  });
}

async function begin<S>(testbed: Testbed, held: HeldConnection, { setup }: Pick<Interleaving<S>, 'setup'>): Promise<S> {
  const situation = await patiently('the setup', setup(testbed, held));
  await patiently('what the setup began on the held connection', held.idle());
  held.countFrom();
  return situation;
}

/**
 * A BatchWorker on a held connection, which waits for its first batch. It sends nothing by the clock, unless the
 * options say so, so that the count is the same every time.
 */
export async function heldBatchWorker(
  testbed: Testbed,
  held: HeldConnection,
  options: Partial<BatchWorkerOptions> = {},
): Promise<BatchWorker> {
  const worker = testbed.batchWorker({
    connection: held.connection,
    // Several at a time would look for the next batch beside the one that they run.
    concurrency: 1,
    lockDuration: AN_HOUR,
    stalledInterval: AN_HOUR,
    reconcileInterval: AN_HOUR,
    sweepInterval: AN_HOUR,
    ...options,
  });
  // A BatchWorker that was frozen finds that the others have gone on, and says so.
  worker.on('error', () => {});
  await worker.waitUntilReady();
  await held.waiting();
  return worker;
}

/**
 * Plays undisturbed, to count the commands, and then each position, in a prefix and with a held connection of its own.
 */
async function playAll(
  testbed: Testbed,
  play: (testbed: Testbed, held: HeldConnection, position?: number) => Promise<Seen>,
): Promise<Played> {
  const playOne = (position = 0) =>
    testbed.within(String(position).padStart(4, '0'), async (own) =>
      play(own, await own.heldConnection(), position || undefined),
    );
  const { commands } = await playOne();
  const failures: unknown[] = [];
  let [next, positions] = [1, 0];
  // The first failure ends it: each one that hangs takes `PATIENCE_MS`.
  const player = async () => {
    while (next <= commands.length && failures.length === 0) {
      try {
        const { isReached } = await playOne(next++);
        positions += isReached ? 1 : 0;
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, player));
  if (failures.length > 0) {
    throw together(failures);
  }
  notePositions(inject('positionsFile'), positions);
  return { positions, commands };
}

/**
 * Names, in the message of what is thrown, where it happened: the error stays the one whose difference vitest shows.
 */
async function naming<T>(where: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error) {
      error.message = `${where}: ${error.message}`;
    }
    throw error;
  }
}

function together([first, ...others]: readonly unknown[]): unknown {
  if (first instanceof Error) {
    first.message += others.map((error) => `\n  also ${String((error as Error).message).split('\n')[0]}`).join('');
  }
  return first;
}

async function outcomeOf(who: string, work: Promise<unknown>): Promise<PromiseSettledResult<unknown>> {
  const [outcome] = await patiently(who, Promise.allSettled([work]));
  return outcome;
}

function check(who: string, outcome: PromiseSettledResult<unknown>, refusals: readonly ErrorClass[] = []): void {
  if (outcome.status === 'rejected' && !refusals.some((refusal) => outcome.reason instanceof refusal)) {
    throw new Error(`${who} ended with ${String(outcome.reason)}`, { cause: outcome.reason });
  }
}

/** Says who hangs, instead of leaving it to the test's timeout. */
async function patiently<T>(who: string, work: Promise<T>): Promise<T> {
  const timer = new AbortController();
  const late = pause(PATIENCE_MS, undefined, { signal: timer.signal, ref: false }).then(
    () => {
      throw new Error(`${who} has not ended after ${PATIENCE_MS} ms`);
    },
    () => work,
  );
  try {
    return await Promise.race([work, late]);
  } finally {
    timer.abort();
  }
}
