import { parseArgs } from 'node:util';
import type { Command, Given, Option, Options } from './command.js';
import { UsageError } from './failure.js';
import { printable } from './text.js';

/** Options of every command. */
export const GLOBAL: Options = {
  redis: {
    type: 'string',
    value: 'URL',
    help:
      'redis://[user:password@]host[:port][/database], or rediss:// for TLS; default: REDIS_URL, then ' +
      'redis://localhost:6379',
  },
  prefix: { type: 'string', value: 'PREFIX', help: "BullMQ's prefix; default: bull" },
  'batches-queue': { type: 'string', value: 'NAME', help: 'the queue that holds the batches; default: batches' },
  'no-color': { type: 'boolean', help: 'no colours; as NO_COLOR=1' },
  help: { type: 'boolean', short: 'h', help: 'this text, or that of a command' },
  version: { type: 'boolean', short: 'v', help: 'the version' },
};

export interface CommandLine {
  /** Undefined when none was named. */
  readonly command: Command | undefined;
  readonly id: string;
  readonly given: Given;
}

/** @throws UsageError that says what there is instead. */
export function readCommandLine(argv: readonly string[], commands: readonly Command[]): CommandLine {
  const known: Options = Object.assign({}, ...commands.map(({ options }) => options), GLOBAL);
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(
      Object.entries(known).map(([name, { type, short }]) => [name, { type, ...(short ? { short } : {}) }]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const positionals = tokens.flatMap((token) => (token.kind === 'positional' ? [token.value] : []));
  const { command, rest } = commandOf(positionals, commands);
  const allowed: Options = { ...command?.options, ...GLOBAL };
  const values = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind === 'option') {
      const { name, rawName, value, inlineValue } = token;
      const option = Object.hasOwn(allowed, name) ? allowed[name] : undefined;
      checkOption(option, { rawName, value, inlineValue }, { command, allowed });
      values.set(name, [...(values.get(name) ?? []), value ?? '']);
    }
  }
  const given: Given = {
    flag: (name) => values.has(name),
    text: (name) => values.get(name)?.at(-1),
    all: (name) => values.get(name) ?? [],
  };
  return { command, id: idOf(command, rest, given), given };
}

function commandOf(positionals: readonly string[], commands: readonly Command[]) {
  const [name, ...rest] = positionals;
  if (name === undefined) {
    return { command: undefined, rest };
  }
  const command = commands.find((one) => one.name === name);
  if (command === undefined) {
    throw new UsageError(
      `There is no command '${printable(name)}'. There are ${list(commands.map((one) => one.name))}.`,
    );
  }
  return { command, rest };
}

function checkOption(
  option: Option | undefined,
  { rawName, value, inlineValue }: { rawName: string; value: string | undefined; inlineValue: boolean | undefined },
  { command, allowed }: { command: Command | undefined; allowed: Options },
): void {
  const shown = printable(rawName);
  if (option === undefined) {
    const who = command === undefined ? 'bullmq-batches' : `'${command.name}'`;
    const known = list(Object.keys(allowed).map((name) => `--${name}`));
    const id = command?.takesId ? ' An ID that begins with a dash is written after --.' : '';
    throw new UsageError(`${who} has no option ${shown}. It has ${known}.${id}`);
  }
  if (option.type === 'boolean' && value !== undefined) {
    throw new UsageError(`${shown} takes no value.`);
  }
  if (option.type === 'string' && (value === undefined || value === '' || (!inlineValue && value.startsWith('-')))) {
    const dash = value?.startsWith('-') ? ` A value that begins with a dash is written ${shown}=-…` : '';
    throw new UsageError(`${shown} needs a value: ${shown} ${option.value}.${dash}`);
  }
}

function idOf(command: Command | undefined, rest: readonly string[], given: Given): string {
  if (command === undefined || given.flag('help') || given.flag('version')) {
    return '';
  }
  const expected = command.takesId ? 1 : 0;
  if (rest.length > expected) {
    const surplus = rest.slice(expected).map((argument) => `'${printable(argument)}'`);
    throw new UsageError(
      `'${command.name}' takes ${command.takesId ? 'one ID' : 'no ID'}, so ${list(surplus)} is too much: ` +
        `bullmq-batches ${synopsis(command)}.`,
    );
  }
  const [id = ''] = rest;
  if (command.takesId && id === '') {
    throw new UsageError(
      `'${command.name}' needs the ID of a batch: bullmq-batches ${synopsis(command)}. 'bullmq-batches list' shows ` +
        'them.',
    );
  }
  return id;
}

/** "cancel ID [--reason TEXT] [--yes]". */
export function synopsis({ name, takesId, options }: Command): string {
  const parts = Object.entries(options).map(
    ([option, { value }]) => `[--${option}${value === undefined ? '' : ` ${value}`}]`,
  );
  return [name, ...(takesId ? ['ID'] : []), ...parts].join(' ');
}

export function list(parts: readonly string[]): string {
  return parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`;
}
