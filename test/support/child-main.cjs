// Runs one of the programs of children.ts: node child-main.cjs BUNDLE [NAME SETTINGS]. Without a name it writes the
// code cache of the bundle. V8 reads two megabytes from it in a fraction of the time that it takes to parse them, and
// the crash series start hundreds of processes.
const { existsSync, readFileSync, writeFileSync } = require('node:fs');
const { Script } = require('node:vm');

const [bundle, name, settings] = process.argv.slice(2);
const cache = `${bundle}.cache`;
const cachedData = existsSync(cache) ? readFileSync(cache) : undefined;
// esbuild escapes whatever is not ASCII, which is decoded faster.
const script = new Script(readFileSync(bundle, 'latin1'), { filename: bundle, cachedData });
const { children } = script.runInThisContext()(require, {});
if (name === undefined) {
  writeFileSync(cache, script.createCachedData());
} else {
  children[name](JSON.parse(settings));
}
