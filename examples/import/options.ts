import { randomBytes } from 'node:crypto';
import { relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const SAMPLE = fileURLToPath(new URL('./data/customers.csv', import.meta.url));

export const USAGE = `Imports a CSV file of customers with the columns organization, name, email and country.

Usage: npm run demo -- [OPTIONS] [FILE.csv]

  FILE.csv        the file to import; default: ${shown(SAMPLE)}
  --report PATH   where the report goes; default: reports/import-TIME.xlsx
  --json          print the result as JSON, on the last line
  --board         show it in Bull Board, on the page of batches and on the command line, at a pace that can be
                  watched, until Ctrl-C
  --prefix NAME   how the run's keys in Redis begin; default: customer-import
  --help          print this

A Redis is started for the run, unless REDIS_URL names one.`;

export interface Options {
  /** As it was given, for messages. */
  readonly file: string;
  /** Absolute. */
  readonly path: string;
  readonly report: string;
  readonly json: boolean;
  readonly board: boolean;
  /** Belongs to this run alone: all keys that begin with it may be deleted. */
  readonly prefix: string;
  readonly help: boolean;
}

/** The command line is wrong. */
export class UsageError extends Error {
  override readonly name = 'UsageError';

  constructor(what: string, options?: ErrorOptions) {
    super(`${what}\n\n${USAGE}`, options);
  }
}

export function readOptions(args: readonly string[]): Options {
  const { values, positionals } = parse(args);
  const [file, ...more] = positionals;
  if (more.length > 0)
    throw new UsageError(`One file at a time, not ${positionals.length}: ${positionals.join(', ')}.`);
  if (file === '' || values.report === '') throw new UsageError('A path must not be empty.');
  if (!/^[\w-]+$/.test(values.prefix)) throw new UsageError('--prefix takes letters, digits, - and _.');
  return {
    file: file ?? shown(SAMPLE),
    path: file === undefined ? SAMPLE : given(file),
    report: values.report === undefined ? resolve('reports', `import-${timestamp()}.xlsx`) : given(values.report),
    json: values.json,
    board: values.board,
    prefix: `${values.prefix}-${randomBytes(6).toString('hex')}`,
    help: values.help,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        report: { type: 'string' },
        json: { type: 'boolean', default: false },
        board: { type: 'boolean', default: false },
        prefix: { type: 'string', default: 'customer-import' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    const [what] = (error as Error).message.split('. ');
    throw new UsageError(`${what}.`, { cause: error });
  }
}

/** `npm run` changes to the folder of package.json; what the user typed is meant from where the user is. */
function given(path: string): string {
  const { npm_lifecycle_event: script, INIT_CWD: folder } = process.env;
  return script === 'demo' && folder !== undefined ? resolve(folder, path) : resolve(path);
}

/** A path as it is shown: short when it is near. */
export function shown(path: string): string {
  const short = relative(process.cwd(), path);
  return short === '' || short.startsWith('..') ? path : short;
}

function timestamp(): string {
  return new Date().toISOString().replace(/[:.]/g, '-').replace('Z', '');
}
