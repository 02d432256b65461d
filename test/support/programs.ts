import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';
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
const DEMO = { 'import-demo': 'examples/import/main.ts' };

const common = {
  absWorkingDir: root,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  // Errors are recognised by the names of their classes.
  keepNames: true,
} as const;

/**
 * Compiles the programs once for a whole run: compiling one in its own process takes longer than most of them run, and
 * the crash series start hundreds. The folder is inside of the package, where imports of packages, the package's own
 * name too, are found.
 */
export async function buildPrograms(): Promise<{ readonly folder: string; remove(): void }> {
  const place = join(root, '.programs');
  mkdirSync(place, { recursive: true });
  const folder = mkdtempSync(join(place, 'run-'));
  const byName = Object.fromEntries(PROGRAMS.map((file) => [basename(file, '.ts'), file]));
  for (const version of ['bullmq', 'bullmq5']) {
    await build({
      ...common,
      entryPoints: { ...byName, ...COMMAND_LINE },
      outdir: join(folder, version),
      // With BullMQ and ioredis in the same file a program starts in half of the time.
      packages: 'bundle',
      banner: { js: "import { createRequire as from } from 'node:module'; const require = from(import.meta.url);" },
      alias: version === 'bullmq' ? {} : { bullmq: version },
    });
  }
  await build({
    ...common,
    entryPoints: DEMO,
    outdir: join(folder, 'bullmq'),
    packages: 'external',
    // Its files are found beside its source.
    define: { 'import.meta.url': JSON.stringify(pathToFileURL(join(root, DEMO['import-demo'])).href) },
    plugins: [pageAssets],
  });
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** The texts of the page as they are in the package (see .ci/build.mjs): otherwise each start would compile them. */
const pageAssets: Plugin = {
  name: 'page-assets',
  setup({ onLoad }) {
    onLoad({ filter: /\/surfaces\/page\/assets\.js$/ }, async ({ path }) => {
      const texts = Object.entries((await import(path)) as Record<string, string>);
      const lines = texts.map(([name, text]) => `export const ${name} = ${JSON.stringify(text)};`);
      return { contents: lines.join('\n') };
    });
  },
};

/** The compiled program, for the BullMQ that the test runs against. */
export function programPath(name: string): string {
  return join(inject('programs'), process.env.BULLMQ ?? 'bullmq', `${name}.mjs`);
}
