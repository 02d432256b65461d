import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { inject } from 'vitest';

declare module 'vitest' {
  export interface ProvidedContext {
    programs: string;
  }
}

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The programs that tests run in processes of their own. */
const PROGRAMS = [
  'test/support/doomed-batch-worker.ts',
  'test/support/doomed-loader.ts',
  'test/support/doomed-producer.ts',
  'test/support/doomed-retrier.ts',
  'test/support/doomed-starter.ts',
  'test/support/skewed-batch-worker.ts',
];
const COMMAND_LINE = { 'command-line': 'src/surfaces/cli/index.ts' };

/**
 * Compiles the programs once for a whole run, for each version of BullMQ: compiling one in its own process takes longer
 * than most of them run, and the crash series start hundreds. The folder is inside of the package, where imports of
 * packages, the package's own name too, are found.
 */
export async function buildPrograms(): Promise<{ readonly folder: string; remove(): void }> {
  const place = join(root, '.programs');
  mkdirSync(place, { recursive: true });
  const folder = mkdtempSync(join(place, 'run-'));
  const byName = Object.fromEntries(PROGRAMS.map((file) => [basename(file, '.ts'), file]));
  for (const version of ['bullmq', 'bullmq5']) {
    await build({
      absWorkingDir: root,
      entryPoints: { ...byName, ...COMMAND_LINE },
      outdir: join(folder, version),
      outExtension: { '.js': '.mjs' },
      bundle: true,
      packages: 'external',
      alias: version === 'bullmq' ? {} : { bullmq: version },
      format: 'esm',
      platform: 'node',
      target: 'node20',
      sourcemap: 'inline',
    });
  }
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** The compiled program, for the BullMQ that the test runs against. */
export function programPath(name: string): string {
  return join(inject('programs'), process.env.BULLMQ ?? 'bullmq', `${name}.mjs`);
}
