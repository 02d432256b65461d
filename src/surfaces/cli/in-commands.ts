/** How sentences of the library name the methods of a batch, and how this program says the same. */
const COMMANDS: readonly (readonly [method: RegExp, command: string])[] = [
  [/Call seal\(\) on every batch to which/g, "Run 'bullmq-batches seal' for every batch to which"],
  [/\(await queue\.getBatch\('.*?'\)\)\.explain\(\)/g, "'bullmq-batches explain'"],
  [/\bbatch\.(failures|results|retry|seal|cancel|explain|tree|remove)\(\)/g, "'bullmq-batches $1'"],
  [/(?<![.\w])seal\(\)/g, "'bullmq-batches seal'"],
  [/(?<![.\w])remove\(\{ force: true \}\)/g, "'bullmq-batches remove --force'"],
  [/\bCall (?='bullmq-batches )/g, 'Run '],
  [/\bcall (?='bullmq-batches )/g, 'run '],
];

/** A sentence of the library with this program's commands instead of methods. */
export function inCommands(sentence: string): string {
  return COMMANDS.reduce((text, [method, command]) => text.replace(method, command), sentence);
}
