import type { Batch, BatchFailure, BatchResult } from '../../index.js';
import type { Call, Command } from './command.js';
import { csvLine } from './csv.js';
import { EXIT } from './failure.js';
import { isByReason, printFailureReasons } from './failure-reasons.js';
import { FORMAT_OPTIONS, formatOf } from './format.js';
import { Table } from './table.js';
import { jsonLine, printable } from './text.js';

const DETAILS = [
  'One member after the other, also of a large batch: nothing is collected. While the batch is running there may be ' +
    'more later, and one may be listed twice. In CSV, objects are JSON, and what a spreadsheet would take for a ' +
    'formula begins with an apostrophe. A child batch is a member, and has isBatch: true.',
];

export const resultsCommand: Command = {
  name: 'results',
  takesId: true,
  summary: 'Lists the members that have succeeded, with what they returned',
  details: DETAILS,
  options: FORMAT_OPTIONS,
  check: (given) => void formatOf(given, false),
  run: (call) =>
    printMembers(call, {
      members: (batch) => batch.results() as AsyncIterable<BatchResult>,
      columns: ['id', 'queue', 'isBatch', 'value'],
      none: 'No member has succeeded so far.',
    }),
};

export const failuresCommand: Command = {
  name: 'failures',
  takesId: true,
  summary: 'Lists the members that have failed for good, with reason and data',
  details: [
    ...DETAILS,
    'With --by reason the failures are counted: those whose reasons differ in numbers, ids or quoted values only are ' +
      "one, with '…' for these.",
  ],
  options: { by: { type: 'string', value: 'reason', help: 'count the failures by their reasons' }, ...FORMAT_OPTIONS },
  check: (given) => void [formatOf(given, false), isByReason(given)],
  run: (call) =>
    isByReason(call.given)
      ? printFailureReasons(call)
      : printMembers(call, {
          members: (batch) => batch.failures() as AsyncIterable<BatchFailure>,
          columns: ['id', 'queue', 'isBatch', 'reason', 'data'],
          none: 'No member has failed for good so far.',
        }),
};

interface Listing {
  members(batch: Batch): AsyncIterable<object>;
  readonly columns: readonly string[];
  readonly none: string;
}

async function printMembers({ findBatch, given, out }: Call, listing: Listing): Promise<number> {
  const members = listing.members(await findBatch());
  const format = formatOf(given, out.isTerminal);
  const lines =
    format === 'table'
      ? tableLines(members, listing, out)
      : format === 'csv'
        ? csvLines(members, listing, out)
        : jsonLines(members);
  for await (const line of lines) {
    await out.write(line);
  }
  return EXIT.ok;
}

async function* jsonLines(members: AsyncIterable<object>): AsyncGenerator<string> {
  for await (const member of members) {
    yield `${jsonLine(member)}\n`;
  }
}

async function* csvLines(
  members: AsyncIterable<object>,
  { columns }: Listing,
  out: Call['out'],
): AsyncGenerator<string> {
  yield csvLine(columns);
  for await (const member of members) {
    const values = columns.map((name) => (member as Record<string, unknown>)[name]);
    yield csvLine(
      out.isTerminal ? values.map((value) => (typeof value === 'string' ? printable(value) : value)) : values,
    );
  }
}

/** The columns of a table are as wide as these first members need; the others are not known yet. */
const FIRST = 100;

async function* tableLines(
  members: AsyncIterable<object>,
  { columns, none }: Listing,
  out: Call['out'],
): AsyncGenerator<string> {
  const [shown, last] = [columns.filter((name) => name !== 'isBatch'), columns.at(-1)];
  let first: string[][] = [];
  let table: Table | undefined;
  const begin = () => {
    table = new Table(
      shown.map((name) => ({
        title: name.toUpperCase(),
        staysWhole: name === 'id',
        isElastic: name === 'value' || name === 'reason' || name === 'data',
        isOptional: name === 'queue' || (name === last && name === 'data'),
      })),
      first,
      out.columns,
      out.paint,
    );
    return [table.header(), ...first.map((row) => table?.row(row) ?? '')].map((line) => `${line}\n`).join('');
  };
  for await (const member of members) {
    const row = shown.map((name) => readable((member as Record<string, unknown>)[name]));
    if (table !== undefined) {
      yield `${table.row(row)}\n`;
    } else if (first.push(row) === FIRST) {
      yield begin();
      first = [];
    }
  }
  if (table === undefined) {
    yield first.length === 0 ? `${none}\n` : begin();
  }
}

function readable(value: unknown): string {
  return value === undefined ? '' : typeof value === 'string' ? value : jsonLine(value);
}
