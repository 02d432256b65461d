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
