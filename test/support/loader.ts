import type { BatchQueue } from '../../src/index.js';
import type { AnyJob, AnyQueue } from './test.js';

export const LOADED = 2500;

/** The processor of a loader job: it fills a batch of its own from a source that it can read again. */
export const loader = (users: BatchQueue<AnyQueue>) => async (job: AnyJob) => {
  function* source() {
    for (let n = 0; n < LOADED; n++) {
      yield { name: 'member', data: { n } };
    }
  }
  await users.addBatch({ id: job.data.id, on: { success: { name: 'success' } } }, source());
};
