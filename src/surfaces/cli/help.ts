import { GLOBAL, synopsis } from './arguments.js';
import type { Command, Options } from './command.js';

const EXIT_CODES = `Exit codes:
  0    done; of 'watch': the batch has succeeded
  1    it did not work: what the message says, or no Redis
  2    the command line is wrong, or lacks --yes; nothing was done
  3    there is no such batch
  4    'watch': the batch has failed, or was cancelled
  130  'watch': interrupted with Ctrl-C`;

export function helpOf(commands: readonly Command[]): string {
  const width = Math.max(...commands.map((command) => shortSynopsis(command).length));
  return `Looks at the batches of bullmq-batches, and acts on them.

Usage: bullmq-batches COMMAND [ID] [options]

Commands:
${commands.map((command) => `  ${shortSynopsis(command).padEnd(width)}  ${command.summary}`).join('\n')}

'bullmq-batches COMMAND --help' tells the options of a command.

Options of all commands:
${optionLines(GLOBAL)}

A password belongs into REDIS_URL: others on the machine can see the arguments of a program.

${EXIT_CODES}
`;
}

export function helpOfCommand(command: Command): string {
  const details = command.details === undefined ? '' : `\n${command.details.join('\n')}\n`;
  return `${command.summary}.

Usage: bullmq-batches ${synopsis(command)}
${details}
Options:
${optionLines({ ...command.options, ...GLOBAL })}

${EXIT_CODES}
`;
}

const shortSynopsis = ({ name, takesId }: Command) => (takesId ? `${name} ID` : name);

function optionLines(options: Options): string {
  const lines = Object.entries(options).map(([name, { value, short, help }]) => {
    const flag = `${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`;
    return [flag, help] as const;
  });
  const width = Math.max(...lines.map(([flag]) => flag.length));
  return lines.map(([flag, help]) => `  ${flag.padEnd(width)}  ${help}`).join('\n');
}
