/*
 * The script and the style sheet of the page, as text that stands in each of its answers: the package reads no file and
 * serves none. Tests and the demo, which run the sources, get them from here; the build writes a module of the same
 * name that holds the two texts (.ci/build.mjs).
 */
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const OLDEST_BROWSERS = ['chrome100', 'firefox104', 'safari15.4'];

export const CLIENT_SCRIPT = bundle('./client/main.ts');
export const STYLE = bundle('./style.css');

function bundle(file) {
  const { outputFiles } = buildSync({
    entryPoints: [fileURLToPath(new URL(file, import.meta.url))],
    bundle: true,
    minify: true,
    charset: 'utf8',
    target: OLDEST_BROWSERS,
    write: false,
  });
  return outputFiles[0].text;
}
