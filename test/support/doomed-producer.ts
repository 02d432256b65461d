// A producer that dies before its n-th script, while it creates, fills and seals a batch that can be resumed.
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { withBatches } from '../../src/index.js';
import { childSettings } from './child-settings.js';
import { dieBeforeScript } from './doomed.js';

const { connection, prefix, args } = childSettings<{ n: number; id: string; members: number }>();
dieBeforeScript(args.n);
const users = withBatches(
  new Queue('users', { connection: new Redis({ ...connection, maxRetriesPerRequest: null }), prefix }),
);
await users.addBatch(
  { id: args.id, on: { success: { name: 'success' } } },
  Array.from({ length: args.members }, (_, n) => ({ name: 'member', data: { n } })),
);
process.exit(0);
