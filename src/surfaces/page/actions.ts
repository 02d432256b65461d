import type { Batch, BatchState, BatchStatus } from '../../index.js';
import type { ActionName } from './paths.js';
import { number, plural } from './text.js';

export interface Action {
  /** The states of a batch in which it makes sense. */
  readonly offeredIn: readonly BatchState[];
  /** On the button that leads to the question. */
  readonly label: string;
  readonly question: string;
  /** What will happen, for the batch as it stands. */
  readonly consequence: (status: BatchStatus) => string;
  /** On the button that does it. */
  readonly confirm: string;
  readonly asksForReason: boolean;
  /** Returns how many jobs it was about, where that is known. */
  readonly perform: (batch: Batch, reason: string | undefined) => Promise<number | undefined>;
  /** What is said when it is done. */
  readonly done: (jobs: number | undefined) => string;
  /** What is said when it takes longer than a page can wait. */
  readonly begun: string;
}

export const ACTIONS: Readonly<Record<ActionName, Action>> = {
  retry: {
    offeredIn: ['failed'],
    label: 'Retry…',
    question: 'Retry what failed?',
    consequence: ({ failed }) =>
      `${failed === 1 ? 'The failed member runs' : failed === 0 ? 'Failed callbacks run' : `The ${number(failed)} failed members run`} again, in child batches too. ` +
      'What has succeeded is left alone.',
    confirm: 'Yes, retry',
    asksForReason: false,
    perform: async (batch) => (await batch.retry()).retried,
    done: (jobs = 0) => `${plural(jobs, 'job')} ${jobs === 1 ? 'runs' : 'run'} again.`,
    begun: 'The retry has begun, and takes longer than this page can wait: reload it to see how far it is.',
  },
  cancel: {
    offeredIn: ['open', 'waiting', 'running'],
    label: 'Cancel…',
    question: 'Cancel this batch?',
    consequence: ({ pending }) =>
      `${plural(pending, 'member')} ${pending === 1 ? 'is' : 'are'} pending: what has not started is removed, child ` +
      'batches are cancelled too, and what is running may finish. This cannot be undone.',
    confirm: 'Yes, cancel the batch',
    asksForReason: true,
    perform: async (batch, reason) => {
      await batch.cancel(reason);
      return undefined;
    },
    done: () => 'The batch is cancelled. Members that are running may still finish.',
    begun: 'Cancelling has begun, and takes longer than this page can wait: reload it to see how far it is.',
  },
  seal: {
    offeredIn: ['open'],
    label: 'Seal…',
    question: 'Seal this batch?',
    consequence: ({ total }) =>
      `It has ${plural(total, 'member')}. Once it is sealed it can finish, and its callbacks can run; nobody but its ` +
      'own running members may add to it then. This cannot be undone.',
    confirm: 'Yes, seal the batch',
    asksForReason: false,
    perform: async (batch) => {
      await batch.seal();
      return undefined;
    },
    done: () => 'The batch is sealed: it finishes when its last member is settled.',
    begun: 'Sealing has begun, and takes longer than this page can wait: reload it to see how far it is.',
  },
};

/** As they are offered: what cannot be undone comes last. */
export const ACTION_NAMES: readonly ActionName[] = ['retry', 'seal', 'cancel'];

export function isOffered(action: ActionName, state: BatchState): boolean {
  return ACTIONS[action].offeredIn.includes(state);
}

/** Why an action is not for a batch in this state. */
export function refusal(action: ActionName, { state }: BatchStatus): string {
  const verb = { retry: 'retried', cancel: 'cancelled', seal: 'sealed' }[action];
  const states = ACTIONS[action].offeredIn.join(' or ');
  return `This batch is ${state}: only one that is ${states} can be ${verb}. Nothing was done.`;
}
