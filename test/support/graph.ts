import { defineWorkflow } from '../../src/index.js';
import type { AnyQueue } from './test.js';

/** What every way of adding, releasing and skipping stages is in, and the names of the jobs that run. */
export function everyKindOfStage(queue: AnyQueue) {
  const inner = defineWorkflow('inner', {
    x: { queue, name: 'x' },
    y: { after: 'x', queue, name: 'y' },
  });
  return defineWorkflow('every-kind', {
    a: { queue, jobs: [{ name: 'a' }, { name: 'a' }] },
    bad: { queue, name: 'bad' },
    each: { forEach: 'a', queue, name: 'each' },
    many: { after: 'a', queue, jobs: Array.from({ length: 12 }, () => ({ name: 'many' })) },
    inner: { after: ['each', 'many'], workflow: inner },
    skipped: { after: ['inner', 'bad'], queue, name: 'skipped' },
    report: { after: ['inner', 'skipped'], when: 'complete', queue, name: 'report' },
  });
}

export const STATES = {
  a: 'succeeded',
  bad: 'failed',
  each: 'succeeded',
  many: 'succeeded',
  inner: 'succeeded',
  skipped: 'skipped',
  report: 'succeeded',
};

export const RAN = ['a', 'a', 'bad', 'each', 'each', ...Array.from({ length: 12 }, () => 'many'), 'report', 'x', 'y'];

/** What the jobs do. */
export function processor(ran: string[]) {
  return async ({ name }: { readonly name: string }) => {
    ran.push(name);
    if (name === 'bad') {
      throw new Error('bad');
    }
    return name;
  };
}

/** A run that fails in its first life, with every kind of stage before, beside and after the stages that fail. */
export function recovering(queue: AnyQueue) {
  const inner = defineWorkflow('recovering-inner', {
    x: { queue, name: 'sick x' },
    y: { after: 'x', queue, name: 'y' },
    told: { after: 'x', when: 'complete', queue, name: 'told' },
  });
  const onB = { death: { name: 'b death' }, complete: { name: 'b complete' }, success: { name: 'b success' } };
  return defineWorkflow('recovering', {
    a: { queue, name: 'a' },
    b: { after: 'a', queue, jobs: [{ name: 'sick b' }, { name: 'fine b' }], on: onB },
    c: { after: 'a', queue, name: 'c' },
    d: { after: ['b', 'c'], queue, name: 'd', on: { complete: { name: 'd complete' } } },
    many: { after: 'd', queue, jobs: Array.from({ length: 12 }, () => ({ name: 'many' })) },
    each: { forEach: 'b', queue, name: 'each' },
    inner: { after: 'a', workflow: inner },
    end: { after: ['inner', 'many', 'each'], queue, name: 'end' },
    rescue: { after: 'b', when: 'failure', queue, name: 'rescue' },
    never: { after: ['d', 'end'], when: 'failure', queue, name: 'never' },
    report: { after: ['end', 'rescue'], when: 'complete', queue, name: 'report' },
  });
}

/** What it is started with: its own callbacks. */
export const RECOVERING_ON = { complete: { name: 'run complete' }, success: { name: 'run success' } };

/** What runs of it before it is retried, in any order. */
export const RAN_BEFORE = [
  ...['a', 'b complete', 'b death', 'c', 'fine b', 'report', 'rescue', 'run complete', 'sick b', 'sick x', 'told'],
];

/** What runs of it in all, when it was healed and retried. */
export const RAN_IN_ALL = [
  ...RAN_BEFORE,
  ...['sick b', 'sick x', 'b success', 'd', 'd complete', 'each', 'each', 'end', 'run success', 'y'],
  ...Array.from({ length: 12 }, () => 'many'),
].sort();

/** The states of its stages when it has failed, and when it has recovered. */
export const FAILED_STATES = {
  ...{ a: 'succeeded', b: 'failed', c: 'succeeded', d: 'skipped', many: 'skipped', each: 'skipped' },
  ...{ inner: 'failed', end: 'skipped', rescue: 'succeeded', never: 'skipped', report: 'succeeded' },
};
export const RECOVERED_STATES = {
  ...{ a: 'succeeded', b: 'succeeded', c: 'succeeded', d: 'succeeded', many: 'succeeded', each: 'succeeded' },
  ...{ inner: 'succeeded', end: 'succeeded', rescue: 'succeeded', never: 'skipped', report: 'succeeded' },
};

/** What its jobs do: those that are sick fail until they are healed. */
export function sickness(ran: string[]) {
  const state = { isHealed: false };
  return {
    heal() {
      state.isHealed = true;
    },
    async processor({ name }: { readonly name: string }) {
      ran.push(name);
      if (name.startsWith('sick') && !state.isHealed) {
        throw new Error('sick');
      }
      return name;
    },
  };
}
