import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { inject } from 'vitest';

declare module 'vitest' {
  export interface ProvidedContext {
    programs: string;
  }
}

const root = fileURLToPath(new URL('../../', import.meta.url));

const CHILD_MAIN = fileURLToPath(new URL('child-main.cjs', import.meta.url));
/** The programs that tests run in processes of their own. */
const CHILDREN = { children: 'test/support/children.ts' };
const COMMAND_LINE = { 'command-line': 'src/surfaces/cli/index.ts' };
const BENCH = { bench: 'bench/main.ts', 'memory-producer': 'bench/memory-producer.ts' };
const EXAMPLES = ['examples/stories/*.ts', 'examples/workflow/*.ts'];
const DEMO = { 'import-demo': 'examples/import/main.ts' };

const common = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20',
  // Errors are recognised by the names of their classes.
  keepNames: true,
} as const;
const asModule = { ...common, format: 'esm', outExtension: { '.js': '.mjs' } } as const;

/**
 * Compiles the programs once for a whole run: compiling one in its own process takes longer than most of them run, and
 * the crash series start hundreds. The folder is inside of the package, where imports of packages, the package's own
 * name too, are found.
 */
export async function buildPrograms(): Promise<{ readonly folder: string; remove(): void }> {
  const place = join(root, '.programs');
  mkdirSync(place, { recursive: true });
  const folder = mkdtempSync(join(place, 'run-'));
  for (const version of ['bullmq', 'bullmq5']) {
    const own = {
      outdir: join(folder, version),
      // With BullMQ and ioredis in the same file a program starts in half of the time.
      packages: 'bundle',
      alias: version === 'bullmq' ? {} : { bullmq: version },
    } as const;
    await build({
      ...asModule,
      ...own,
      entryPoints: version === 'bullmq' ? { ...COMMAND_LINE, ...BENCH } : COMMAND_LINE,
      banner: { js: "import { createRequire as from } from 'node:module'; const require = from(import.meta.url);" },
    });
    await build({
      ...common,
      ...own,
      entryPoints: CHILDREN,
      format: 'cjs',
      // One expression, for child-main.cjs.
      banner: { js: '(function (require, module) {' },
      footer: { js: 'return module.exports; })' },
    });
    execFileSync(process.execPath, [CHILD_MAIN, join(folder, version, 'children.js')]);
  }
  const withPackages = { ...asModule, outdir: join(folder, 'bullmq'), packages: 'external' } as const;
  await build({ ...withPackages, entryPoints: EXAMPLES, outbase: root });
  await build({
    ...withPackages,
    entryPoints: DEMO,
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

/** The compiled program, for the BullMQ that the test runs against; of an example, `examples/FOLDER/NAME`. */
export function programPath(name: string): string {
  return fileOf(`${name}.mjs`);
}

/** The command that runs one of the programs of children.ts, for the BullMQ that the test runs against. */
export function childCommand(name: string, settings: unknown): string[] {
  return [CHILD_MAIN, fileOf('children.js'), name, JSON.stringify(settings)];
}

function fileOf(program: string): string {
  return join(inject('programs'), process.env.BULLMQ ?? 'bullmq', program);
}
