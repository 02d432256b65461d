import type { BatchStatus, StageStatus, TreeJobs } from '../../index.js';
import { type Command, JSON_OPTION } from './command.js';
import { EXIT } from './failure.js';
import { styleOf } from './state.js';
import { ago, fields, jsonLine, localIso, number, printable } from './text.js';

export const showCommand: Command = {
  name: 'show',
  takesId: true,
  summary: 'Shows where a batch stands',
  options: JSON_OPTION,
  async run({ findBatch, given, out }) {
    const status = await (await findBatch()).status();
    if (given.flag('json')) {
      await out.json(status);
      return EXIT.ok;
    }
    for (const line of linesOf(status, out.columns)) {
      await out.line(line.replace(/^(state +)(\w+)/, (_, name, state) => name + out.paint(styleOf(state), state)));
    }
    return EXIT.ok;
  },
};

function linesOf(status: BatchStatus, columns: number): string[] {
  return fields(
    [
      ['id', printable(status.id)],
      ['description', maybe(status.description)],
      ['state', status.state + stateNote(status)],
      ['failed because', maybe(status.state === 'cancelled' ? undefined : status.failedReason)],
      ['cancelled because', maybe(status.cancelReason)],
      ['progress', `${(status.jobs ?? status).progress} %`],
      ['members', countsOf(status)],
      ['jobs below', status.jobs && countsOf(status.jobs)],
      ['tags', maybe(status.tags.join(', ') || undefined)],
      ['metadata', status.metadata === undefined ? undefined : printable(jsonLine(status.metadata))],
      ['parent', maybe(status.parentId)],
      ['stage', maybe(status.stage)],
      ['created', at(status.createdAt)],
      ['sealed', at(status.sealedAt) ?? (status.state === 'waiting' ? 'when it starts' : 'no: more may be added')],
      ['completed', at(status.completedAt)],
      ['finished', at(status.finishedAt)],
      ...stageLines(status.stages ?? []).map((line, i) => [i === 0 ? 'stages' : '', line] as const),
      ...status.callbacks.map(
        ({ event, name, queue, state }, i) =>
          [i === 0 ? 'callbacks' : '', `${event}: ${printable(name)} in queue ${printable(queue)}, ${state}`] as const,
      ),
    ],
    columns,
  );
}

function countsOf({ total, pending, succeeded, failed, cancelled, missing }: TreeJobs): string {
  const counts = Object.entries({ pending, succeeded, failed, cancelled, missing });
  return `${number(total)}: ${counts.map(([name, count]) => `${number(count)} ${name}`).join(', ')}`;
}

/** Each stage, with what it comes after; those of a stage that is a workflow below it. */
function stageLines(stages: readonly StageStatus[]): string[] {
  return stages.flatMap(({ name, state, total, pending, after, when, stages: inside = [] }) => {
    const how = when === 'success' ? '' : `, on ${when}`;
    const order = after.length === 0 ? '' : `, after ${after.map(printable).join(' and ')}${how}`;
    return [
      `${printable(name)}: ${state}, ${number(total - pending)} of ${number(total)}${order}`,
      ...stageLines(inside).map((line) => `  ${line}`),
    ];
  });
}

function stateNote({ state, abandoned, recovered }: BatchStatus): string {
  const notes = [
    ...(abandoned ? ['abandoned by its producer'] : []),
    ...(recovered ? ['after failures'] : []),
    ...(state === 'finishing' ? ['all members are settled, callbacks are outstanding'] : []),
  ];
  return notes.length === 0 ? '' : ` (${notes.join('; ')})`;
}

const at = (time: number | undefined) => (time === undefined ? undefined : `${localIso(time)} (${ago(time)})`);

const maybe = (text: string | undefined) => (text === undefined ? undefined : printable(text));
