import { type Batch, BatchNotFoundError, type BatchStatus, type ListedState } from '../../index.js';
import { type Call, type Command, type Given, JSON_OPTION } from './command.js';
import { EXIT, UsageError } from './failure.js';
import { styleOf } from './state.js';
import { type Column, tableLines } from './table.js';
import { ago, number, printable } from './text.js';

const STATES: readonly ListedState[] = ['open', 'running', 'succeeded', 'failed'];
const DEFAULT_LIMIT = 20;

/** How many batches are asked at the same time. */
const AT_ONCE = 50;

export const listCommand: Command = {
  name: 'list',
  takesId: false,
  summary: 'Lists batches, newest first',
  details: ['Cancelled batches are among the failed ones, finishing ones among the running.'],
  options: {
    state: { type: 'string', value: 'STATE', help: `only ${STATES.join(', ')}; several with commas` },
    limit: { type: 'string', value: 'N', help: `at most so many; default: ${DEFAULT_LIMIT}` },
    ...JSON_OPTION,
  },
  check(given) {
    statesOf(given);
    limitOf(given);
  },
  async run({ queue, given, out, where }) {
    const [states, limit] = [statesOf(given), limitOf(given)];
    const counts = await queue.getBatchCounts();
    const newest = (await statusesOf(await queue.getBatches(states, 0, limit - 1)))
      .sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? -1 : 1))
      .slice(0, limit);
    if (given.flag('json')) {
      for (const status of newest) {
        await out.json(status);
      }
      return EXIT.ok;
    }
    if (newest.length === 0) {
      const which = states.length === STATES.length ? '' : ` that are ${states.join(' or ')}`;
      await out.line(`There are no batches${which} in ${where}.`);
      return EXIT.ok;
    }
    await printTable(newest, out);
    const more = states.reduce((sum, state) => sum + counts[state], 0) - newest.length;
    // Other jobs in the queue of the batches are counted, but are not found as batches.
    if (more > 0 && newest.length === limit) {
      await out.line(out.paint('dim', `… and ${number(more)} more: --limit ${limit + more}`));
    }
    return EXIT.ok;
  },
};

const COLUMNS: readonly Column[] = [
  { title: 'ID', staysWhole: true },
  { title: 'DESCRIPTION', isElastic: true, isOptional: true },
  { title: 'STATE' },
  { title: 'DONE', align: 'right' },
  { title: 'TOTAL', align: 'right', isOptional: true },
  { title: 'FAILED', align: 'right' },
  { title: 'CREATED', isOptional: true },
];

async function printTable(statuses: readonly BatchStatus[], out: Call['out']): Promise<void> {
  const rows = statuses.map((status) => [
    status.id,
    printable(status.description ?? ''),
    { text: status.state, style: styleOf(status.state) },
    `${(status.jobs ?? status).progress} %`,
    number(status.total),
    { text: number(status.failed), style: status.failed > 0 ? ('red' as const) : undefined },
    ago(status.createdAt),
  ]);
  for (const line of tableLines(COLUMNS, rows, out)) {
    await out.line(line);
  }
}

function statesOf(given: Given): readonly ListedState[] {
  const wanted = given.all('state').flatMap((value) => value.split(',').map((state) => state.trim()));
  for (const state of wanted) {
    if (!STATES.includes(state as ListedState)) {
      throw new UsageError(
        `--state takes ${STATES.join(', ')}, not '${printable(state)}': cancelled batches are among the failed ` +
          'ones, finishing ones among the running.',
      );
    }
  }
  return wanted.length === 0 ? STATES : [...new Set(wanted as ListedState[])];
}

function limitOf(given: Given): number {
  const text = given.text('limit') ?? String(DEFAULT_LIMIT);
  const limit = Number(text);
  if (!/^\d+$/.test(text) || limit < 1 || !Number.isSafeInteger(limit)) {
    throw new UsageError(`--limit takes a whole number from 1, not '${printable(text)}'.`);
  }
  return limit;
}

async function statusesOf(batches: readonly Batch[]): Promise<BatchStatus[]> {
  const statuses: (BatchStatus | undefined)[] = [];
  for (let from = 0; from < batches.length; from += AT_ONCE) {
    statuses.push(...(await Promise.all(batches.slice(from, from + AT_ONCE).map(statusIfThere))));
  }
  return statuses.filter((status) => status !== undefined) as BatchStatus[];
}

async function statusIfThere(batch: Batch): Promise<BatchStatus | undefined> {
  try {
    return await batch.status();
  } catch (error) {
    if (error instanceof BatchNotFoundError) {
      return undefined;
    }
    throw error;
  }
}
