import type { Batch, BatchState, BatchStatus } from '../../index.js';
import type { ActionName } from './paths.js';
import { number, plural } from './text.js';

export interface Action {
  /** The states of a batch in which the action makes sense. */
  readonly offeredIn: readonly BatchState[];
  /** The label of the button that leads to the question. */
  readonly label: string;
  readonly question: string;
  /** Says what will happen to a batch with this status. */
  readonly consequence: (status: BatchStatus) => string;
  /** The label of the button that performs the action. */
  readonly confirm: string;
  readonly asksForReason: boolean;
  /** Performs the action, and returns how many jobs it was about, where that is known. */
  readonly perform: (batch: Batch, reason: string | undefined) => Promise<number | undefined>;
  /** The sentence after the action was performed. */
  readonly done: (jobs: number | undefined) => string;
  /** The sentence when the action takes longer than a page can wait. */
  readonly begun: string;
}

export const ACTIONS: Readonly<Record<ActionName, Action>> = {
  retry: {
    offeredIn: ['failed'],
    label: 'Retry…',
    question: 'Retry what failed?',
    consequence: ({ failed }) =>
      `${whatRunsAgain(failed)} again, in child batches too. What has succeeded is left alone.`,
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
      `It has ${plural(total, 'member')}. Once it is sealed it can finish, and its callbacks can run; only its own ` +
      'running members may add to it then. This cannot be undone.',
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

function whatRunsAgain(failed: number): string {
  if (failed === 0) {
    return 'Failed callbacks run';
  }
  return failed === 1 ? 'The failed member runs' : `The ${number(failed)} failed members run`;
}

export function isOffered(action: ActionName, state: BatchState): boolean {
  return ACTIONS[action].offeredIn.includes(state);
}

/** Says why an action is not possible in the state of a batch. */
export function refusal(action: ActionName, { state }: BatchStatus): string {
  const verb = { retry: 'retried', cancel: 'cancelled', seal: 'sealed' }[action];
  const states = ACTIONS[action].offeredIn.join(' or ');
  return `This batch is ${state}: only one that is ${states} can be ${verb}. Nothing was done.`;
}
