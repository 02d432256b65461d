import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { inject } from 'vitest';
import { programPath } from '../support/programs.js';
import { describe, expect, test } from '../support/test.js';

/** The short programs, which say what they print in lines that begin with "// → ". */
const examples = new URL('../../examples/', import.meta.url);
const programs = ['workflow', 'stories']
  .flatMap((folder) => readdirSync(new URL(folder, examples)).map((file) => `${folder}/${file}`))
  .map((file) => ({ file, code: readFileSync(new URL(file, examples), 'utf8') }))
  .filter(({ code }) => code.includes('// → '));

describe('examples', () => {
  test('have programs in both folders', () => {
    expect(programs.length).toBe(7);
  });

  test.for(programs)(
    '$file prints what it says, and ends by itself',
    { timeout: 60_000 },
    async ({ file, code }, { testbed }) => {
      for (const [, queue = ''] of code.matchAll(/new Queue\('([\w-]+)'/g)) {
        testbed.owns(queue);
      }
      const child = spawn(process.execPath, [programPath(`examples/${file.replace(/\.ts$/, '')}`)], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, REDIS_URL: inject('redisUrl'), PREFIX: testbed.prefix },
      });
      const ended = once(child, 'exit');
      const printed = await text(child.stdout);
      expect((await ended)[0]).toBe(0);
      const expected = [...code.matchAll(/^\/\/ → (.+)$/gm)].map(([, line]) => line);
      expect(printed.trimEnd().split('\n')).toEqual(expected);
    },
  );
});
