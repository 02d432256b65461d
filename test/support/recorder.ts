import { BatchRedis } from '../../src/record/batch-redis.js';
import { type ScriptClient, scriptClientOf } from '../../src/record/client.js';
import type { Testbed } from './test.js';

/** A real client that notes how many texts, and how many bytes of them, each reply has. */
export function recorder(testbed: Testbed) {
  const client = scriptClientOf(testbed.redis);
  const replies: { readonly texts: number; readonly bytes: number }[] = [];
  const recording: ScriptClient = {
    defineCommand: (name, definition) => client.defineCommand(name, definition),
    async runCommand(name, args) {
      const reply = await client.runCommand(name, args);
      const texts = textsOf(reply);
      replies.push({ texts: texts.length, bytes: texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0) });
      return reply;
    },
  };
  return { redis: new BatchRedis(recording, testbed.prefix, 'batches'), replies };
}

function textsOf(reply: unknown): string[] {
  return Array.isArray(reply) ? reply.flatMap(textsOf) : [String(reply)];
}
