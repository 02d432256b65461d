import { GLOBAL, synopsis } from './arguments.js';
import type { Command, Options } from './command.js';
import { wrapped } from './text.js';

/** In a pipe, too, help has lines that people can read. */
const WIDEST = 120;

const EXIT_CODES = [
  ['0', "done; of 'watch': the batch has succeeded"],
  ['1', 'it did not work: what the message says, or no Redis'],
  ['2', 'the command line is wrong, or lacks --yes; nothing was done'],
  ['3', 'there is no such batch'],
  ['4', "'watch': the batch has failed, or was cancelled"],
  ['130', "'watch': interrupted with Ctrl-C"],
] as const;

/** @param columns how wide the terminal is. */
export function helpOf(commands: readonly Command[], columns: number): string {
  return `Looks at the batches of bullmq-batches, and acts on them.

Usage: bullmq-batches COMMAND [ID] [options]

Commands:
${entries(
  commands.map((command) => [shortSynopsis(command), command.summary]),
  columns,
)}

'bullmq-batches COMMAND --help' tells the options of a command.

Options of all commands:
${optionLines(GLOBAL, columns)}

${paragraph('A password belongs into REDIS_URL: others on the machine can see the arguments of a program.', columns)}

Exit codes:
${entries(EXIT_CODES, columns)}
`;
}

/** @param columns how wide the terminal is. */
export function helpOfCommand(command: Command, columns: number): string {
  const details = (command.details ?? []).map((text) => `\n${paragraph(text, columns)}\n`).join('');
  return `${paragraph(`${command.summary}.`, columns)}

${paragraph(`Usage: bullmq-batches ${synopsis(command)}`, columns)}
${details}
Options:
${optionLines({ ...command.options, ...GLOBAL }, columns)}

Exit codes:
${entries(EXIT_CODES, columns)}
`;
}

const shortSynopsis = ({ name, takesId }: Command) => (takesId ? `${name} ID` : name);

const paragraph = (text: string, columns: number) => wrapped(text, Math.min(columns, WIDEST));

function optionLines(options: Options, columns: number): string {
  const lines = Object.entries(options).map(([name, { value, short, help }]) => {
    const flag = `${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`;
    return [flag, help] as const;
  });
  return entries(lines, columns);
}

/** Names, with what is said of them beside, in a column of its own. */
function entries(lines: readonly (readonly [name: string, text: string])[], columns: number): string {
  const width = Math.max(...lines.map(([name]) => name.length));
  const indent = ' '.repeat(width + 4);
  return lines
    .map(([name, text]) => `  ${name.padEnd(width)}  ${wrapped(text, Math.min(columns, WIDEST), indent)}`)
    .join('\n');
}
