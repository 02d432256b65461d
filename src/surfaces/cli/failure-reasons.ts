import type { FailureReason } from '../../index.js';
import type { Call, Given } from './command.js';
import { csvLine } from './csv.js';
import { EXIT, UsageError } from './failure.js';
import { formatOf } from './format.js';
import { type Column, tableLines } from './table.js';
import { jsonLine, number, printable } from './text.js';

/** Whether failures are to be counted by reason, instead of being listed. */
export function isByReason(given: Given): boolean {
  const by = given.text('by');
  if (by !== undefined && by !== 'reason') {
    throw new UsageError(`--by takes reason, not '${printable(by)}'.`);
  }
  return by === 'reason';
}

/** Counts all failures of a batch by reason. Nothing but the counts is kept, so a batch may be of any size. */
export async function printFailureReasons({ findBatch, given, out }: Call): Promise<number> {
  const { reasons } = await (await findBatch()).failureReasons({ limit: Number.POSITIVE_INFINITY });
  const format = formatOf(given, out.isTerminal);
  const lines = format === 'table' ? linesOf(reasons, out) : format === 'csv' ? csvLines(reasons) : reasons.map(jsonOf);
  for (const line of lines) {
    await out.write(line);
  }
  return EXIT.ok;
}

const jsonOf = (reason: FailureReason) => `${jsonLine(reason)}\n`;

const csvLines = (reasons: readonly FailureReason[]) => [
  csvLine(['count', 'reason', 'example']),
  ...reasons.map(({ count, reason, examples: [example] }) => csvLine([count, printable(reason), example?.id])),
];

const COLUMNS: readonly Column[] = [
  { title: 'COUNT', align: 'right' },
  { title: 'REASON', isElastic: true },
  { title: 'EXAMPLE', isElastic: true, isOptional: true },
];

function linesOf(reasons: readonly FailureReason[], out: Call['out']): string[] {
  if (reasons.length === 0) {
    return ['No member has failed for good so far.\n'];
  }
  const rows = reasons.map(({ count, reason, examples: [example] }) => [
    { text: number(count), style: 'red' as const },
    reason,
    example?.id ?? '',
  ]);
  return tableLines(COLUMNS, rows, out).map((line) => `${line}\n`);
}
