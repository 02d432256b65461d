import type { BatchExplanation } from '../../index.js';
import { type Call, type Command, JSON_OPTION } from './command.js';
import { EXIT } from './failure.js';
import { inCommands } from './in-commands.js';
import { type Cell, type Column, tableLines } from './table.js';
import { ago, called, number, printable, wrapped } from './text.js';

export const explainCommand: Command = {
  name: 'explain',
  takesId: true,
  summary: 'Says what holds a batch, or how it ended, and what to do about it',
  options: JSON_OPTION,
  async run(call) {
    const { findBatch, given, out } = call;
    const explanation = await (await findBatch()).explain();
    if (given.flag('json')) {
      await out.json(explanation);
      return EXIT.ok;
    }
    await out.line(`${sentenceStart(called(explanation))}: ${explanation.state}`);
    for (const reason of explanation.reasons) {
      await out.line(`- ${wrapped(printable(inCommands(reason)), out.columns, '  ')}`);
    }
    const lines = commandLines(explanation, call);
    if (lines.length > 0) {
      await out.line();
      await out.line('On the command line:');
      for (const line of lines) {
        await out.line(`  ${line}`);
      }
    }
    for (const part of PARTS) {
      await printPart(part(explanation), call);
    }
    return EXIT.ok;
  },
};

/** The commands that the sentences name, with the ids and options to copy. */
function commandLines({ id, sealed, reasons, children }: BatchExplanation, { commandLine }: Call): string[] {
  const says = (method: string) => reasons.some((reason) => reason.includes(method));
  const example = (state: 'open' | 'running') => children.find((group) => group.state === state)?.oldest[0]?.id;
  const commands: readonly (readonly [string, string | undefined | false])[] = [
    ['seal', !sealed && says('seal()') && id],
    ['seal', says('seal()') && example('open')],
    ['failures', says('batch.failures()') && id],
    ['retry', says('batch.retry()') && id],
    ['explain', says('.explain()') && example('running')],
  ];
  return commands.flatMap(([command, target]) => (target ? [commandLine(command, target)] : []));
}

interface Part {
  readonly title: string;
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Cell[])[];
}

const PARTS: readonly ((explanation: BatchExplanation) => Part)[] = [
  ({ members }) => ({
    title: 'Members that are outstanding',
    columns: [
      { title: 'QUEUE', isElastic: true },
      { title: 'STATE' },
      { title: 'COUNT', align: 'right' },
      { title: 'FAILED BEFORE', align: 'right', isOptional: true },
      { title: 'OLDEST', isElastic: true, isOptional: true },
    ],
    rows: members.map(({ queue, state, count, failing, oldest: [oldest] }) => [
      queue,
      state,
      number(count),
      { text: number(failing), style: failing > 0 ? 'red' : undefined },
      oldest === undefined ? '' : nameAndAge(oldest),
    ]),
  }),
  ({ children }) => ({
    title: 'Child batches that are outstanding',
    columns: [
      { title: 'STATE' },
      { title: 'COUNT', align: 'right' },
      { title: 'OLDEST', isElastic: true },
      { title: 'DESCRIPTION', isElastic: true, isOptional: true },
    ],
    rows: children.map(({ state, count, oldest: [oldest] }) => [
      state,
      number(count),
      oldest?.id ?? '',
      oldest?.description ?? '',
    ]),
  }),
  ({ callbacks }) => ({
    title: 'Callbacks',
    columns: [
      { title: 'EVENT' },
      { title: 'NAME', isElastic: true },
      { title: 'QUEUE', isElastic: true },
      { title: 'STATE' },
      { title: 'ATTEMPTS', align: 'right', isOptional: true },
      { title: 'LAST ERROR', isElastic: true, isOptional: true },
    ],
    rows: callbacks.map(({ event, name, queue, state, jobState, attemptsMade, failedReason }) => [
      event,
      name,
      queue,
      { text: state === 'enqueued' ? jobState : state, style: state === 'failed' ? 'red' : undefined },
      number(attemptsMade),
      failedReason ?? '',
    ]),
  }),
  ({ queues }) => ({
    title: 'Queues',
    columns: [{ title: 'QUEUE', isElastic: true }, { title: 'WORKERS', align: 'right' }, { title: '' }],
    rows: queues.map(({ name, workers, paused }) => [
      name,
      { text: workers === undefined ? 'unknown' : number(workers), style: workers === 0 ? 'red' : undefined },
      { text: paused ? 'paused' : '', style: 'yellow' },
    ]),
  }),
];

async function printPart({ title, columns, rows }: Part, { out }: Call): Promise<void> {
  if (rows.length === 0) {
    return;
  }
  await out.line();
  await out.line(out.paint('bold', title));
  for (const line of tableLines(columns, rows, out)) {
    await out.line(line);
  }
}

function nameAndAge({ name, id, timestamp }: BatchExplanation['members'][number]['oldest'][number]): string {
  const who = [name, id].filter(Boolean).join(' ');
  return timestamp === undefined ? who : `${who}, ${ago(timestamp)}`;
}

const sentenceStart = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
