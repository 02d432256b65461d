import { defineWorkflow } from '../../../src/index.js';
import { gateOf } from '../../conformance/script.js';
import { boardOf } from '../../support/board.js';
import { eventually, expect, test } from '../../support/test.js';
import { fail, statesOf, tell } from '../../workflow/story.js';

test.for(['BatchBoardAdapter', 'BullMQAdapter'] as const)(
  '%s shows each stage of a run as a row with its name, its state and what it did',
  async (adapter, { testbed }) => {
    const gate = gateOf(testbed);
    const { queue } = tell(testbed, { held: () => gate.opened, bad: fail });
    const board = await boardOf(testbed, [testbed.plainQueue('batches'), queue], adapter);
    testbed.batchWorker();
    const workflow = defineWorkflow('w', {
      first: { queue, name: 'first' },
      held: { after: 'first', queue, jobs: [{ name: 'held' }, { name: 'other' }] },
      last: { after: 'held', queue, name: 'last' },
      bad: { queue, name: 'bad' },
      never: { after: 'bad', queue, name: 'never' },
    });
    const run = await workflow.start({}, { id: 'run' });
    await eventually(async () => {
      const { stages } = await run.status();
      const hasEnded = (name: string) => stages.find((stage) => stage.name === name)?.finishedAt !== undefined;
      return statesOf({ stages }).held === 'running' && hasEnded('bad') && hasEnded('never');
    });
    const rows = await Promise.all(
      ['run', 'run.first', 'run.held', 'run.last', 'run.bad', 'run.never'].map(async (id) => {
        const { job, status } = (await board.get(`/batches/${id}`)).body;
        const isShown = adapter === 'BatchBoardAdapter' || status === 'completed' || status === 'failed';
        return [job.name, status, isShown ? job.progress.status : undefined, job.externalUrl?.href];
      }),
    );
    // BullMQ's own adapter shows the row that was written last, which maintenance brings up to date at times.
    const isLive = adapter === 'BatchBoardAdapter';
    const live = (state: string) => (isLive ? state : undefined);
    const above = isLive ? 'queue/batches/run' : undefined;
    expect(rows).toEqual([
      ['w', 'waiting-children', live('running'), undefined],
      ['first', 'completed', 'succeeded', above],
      ['held', 'waiting-children', live('running'), above],
      ['last', 'delayed', live('waiting'), above],
      ['bad', 'failed', 'failed', above],
      ['never', 'completed', 'skipped', above],
    ]);
    gate.open();
  },
);
