import type { TestProject } from 'vitest/node';
import { positionsFile, printPositions } from './positions.js';
import { startPrivateRedis } from './private-redis.js';
import { buildPrograms } from './programs.js';

declare module 'vitest' {
  export interface ProvidedContext {
    redisUrl: string;
  }
}

/** One private Redis for the whole run; every test has a prefix of its own in it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // Node reads the certificates named there at each start, which takes longer than the rest of it.
  delete process.env.NODE_EXTRA_CA_CERTS;
  const redis = await startPrivateRedis();
  project.provide('redisUrl', redis.url);
  const programs = await buildPrograms();
  project.provide('programs', programs.folder);
  const positions = positionsFile();
  project.provide('positionsFile', positions);
  return async () => {
    printPositions(positions);
    programs.remove();
    await redis.stop();
  };
}
