import type { Given, Options } from './command.js';
import { UsageError } from './failure.js';
import { printable } from './text.js';

const FORMATS = ['jsonl', 'csv'] as const;
export type Format = (typeof FORMATS)[number] | 'table';

/** Options of the commands that print lists for programs, too. */
export const FORMAT_OPTIONS: Options = {
  format: { type: 'string', value: 'FORMAT', help: 'jsonl (the default, except on a terminal) or csv, with a header' },
  json: { type: 'boolean', help: 'JSON lines, also on a terminal; as --format jsonl' },
};

/** @throws UsageError for a format that there is none, and for two of them. */
export function formatOf(given: Given, isTerminal: boolean): Format {
  const format = given.text('format');
  if (format !== undefined && !FORMATS.includes(format as never)) {
    throw new UsageError(`--format takes ${FORMATS.join(' or ')}, not '${printable(format)}'.`);
  }
  if (given.flag('json') && format === 'csv') {
    throw new UsageError('--json and --format csv exclude each other.');
  }
  const otherwise = given.flag('json') || !isTerminal ? 'jsonl' : 'table';
  return (format as Format | undefined) ?? otherwise;
}
