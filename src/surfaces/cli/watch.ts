import { setTimeout as pause } from 'node:timers/promises';
import type { Batch, BatchStatus } from '../../index.js';
import { barLines, jobsOf, type Look } from './bars.js';
import { type Call, type Command, JSON_OPTION } from './command.js';
import { EXIT } from './failure.js';
import type { Output } from './output.js';
import { Pace } from './pace.js';
import { Screen } from './screen.js';
import { hasEnded, lossesOf, styleOf, whyOf } from './state.js';
import { called, duration, localIso, number, plural, printable, shortened } from './text.js';

/** The least time between two lines of a log, and between two readings of the tree. */
const LEAST_PAUSE_MS = 250;

/** The tree of a large batch is read less often: it takes a tenth of the time, at most. */
const REST_AFTER_TREE = 9;

/** When nothing has changed for so long, the command is shown that says why. */
const QUIET_MS = 15_000;

export const watchCommand: Command = {
  name: 'watch',
  takesId: true,
  summary: 'Follows a batch until it has finished: progress bars, or a line for each change where there is no terminal',
  details: [
    'With child batches, the numbers are those of the jobs below, added up. With --json each change is a line with ' +
      'the status of the batch itself. Ends with 0 when the batch has succeeded, with 4 when it has failed or was ' +
      'cancelled.',
  ],
  options: JSON_OPTION,
  async run(call) {
    const batch = await call.findBatch();
    process.once('SIGINT', () => process.exit(EXIT.interrupted));
    const { state } = await (call.given.flag('json')
      ? printJson(batch, call.out)
      : call.out.isTerminal
        ? drawBars(batch, call)
        : printLines(batch, call.out));
    return state === 'succeeded' ? EXIT.ok : EXIT.batchFailed;
  },
};

async function printJson(batch: Batch, out: Output): Promise<BatchStatus> {
  let last: BatchStatus | undefined;
  for await (const status of batch.watch()) {
    last = status;
    await out.json(status);
    await out.flush();
    if (status.finishedAt === undefined) {
      await pause(LEAST_PAUSE_MS);
    }
  }
  return last ?? batch.status();
}

async function printLines(batch: Batch, out: Output): Promise<BatchStatus> {
  let [printed, printedAt] = ['', Number.NEGATIVE_INFINITY];
  return follow(batch, async (look) => {
    const line = lineOf(look);
    const isDue = hasEnded(look.status.state) || performance.now() - printedAt >= LEAST_PAUSE_MS;
    if (line !== printed && isDue) {
      [printed, printedAt] = [line, performance.now()];
      await out.line(`${localIso(Date.now())}  ${line}`);
      await out.flush();
    }
  });
}

function lineOf(look: Look): string {
  const { status, tree } = look;
  const jobs = jobsOf(look);
  const what = tree.children.length === 0 ? 'member' : 'job';
  const why = whyOf(status);
  return [
    `${status.state}  ${jobs.progress} %  `,
    [`${number(jobs.succeeded)} of ${plural(jobs.total, what)} succeeded`, ...lossesOf(jobs)].join(', '),
    why === undefined ? '' : `: ${printable(why)}`,
  ].join('');
}

async function drawBars(batch: Batch, { out, commandLine }: Call): Promise<BatchStatus> {
  const [screen, pace] = [new Screen(out), new Pace()];
  let [last, changedAt] = ['', performance.now()];
  try {
    const final = await follow(batch, async (look) => {
      const now = performance.now();
      const { total, pending } = jobsOf(look);
      pace.add(now, total - pending);
      const seen = JSON.stringify(look);
      changedAt = seen === last ? changedAt : now;
      last = seen;
      const isQuiet = now - changedAt >= QUIET_MS;
      const note = isQuiet
        ? `No change for ${duration(now - changedAt)}: ${commandLine('explain', batch.id)}`
        : noteOf(look, pace);
      const space = { columns: out.columns, rows: Math.max(2, out.rows - 2) };
      await screen.draw([...barLines(look, space, out.paint), out.paint('dim', shortened(note, out.columns))]);
    });
    await screen.draw([...screen.lines.slice(0, -1)]);
    await out.line(endOf(final, out));
    return final;
  } finally {
    screen.release();
  }
}

function noteOf(look: Look, pace: Pace): string {
  const { pending } = jobsOf(look);
  const left = pace.millisecondsFor(pending);
  if (!look.status.sealed) {
    return 'not sealed yet: more may be added';
  }
  if (pending === 0 || left === undefined) {
    return '';
  }
  return `about ${duration(Math.max(1000, left))} left, ${number(Math.round(pace.perSecond() ?? 0))} jobs/s`;
}

function endOf(status: BatchStatus, out: Output): string {
  const why = whyOf(status);
  const time = duration((status.finishedAt ?? Date.now()) - status.createdAt);
  const state = out.paint(styleOf(status.state), status.state);
  const because = why === undefined ? '' : `, ${printable(why)}`;
  return `${printable(called(status)).replace(/^b/, 'B')}: ${state} after ${time}${because}`;
}

/** Shows the batch whenever its status has changed, and the tree below it as often as it may be read. */
async function follow(batch: Batch, show: (look: Look) => Promise<void>): Promise<BatchStatus> {
  let [status, tree] = [await batch.status(), await batch.tree()];
  const end = new AbortController();
  const watching = async () => {
    try {
      for await (const next of batch.watch()) {
        status = next;
        // The last status is shown below, with a tree that is read after it.
        if (next.finishedAt === undefined) {
          await show({ status, tree });
        }
      }
    } finally {
      end.abort();
    }
  };
  const growing = async () => {
    while (!end.signal.aborted) {
      const since = performance.now();
      tree = await batch.tree();
      if (!end.signal.aborted) {
        await show({ status, tree });
      }
      const rest = Math.max(LEAST_PAUSE_MS, (performance.now() - since) * REST_AFTER_TREE);
      await pause(rest, undefined, { signal: end.signal }).catch(() => {});
    }
  };
  await Promise.all([watching(), growing()]);
  await show({ status, tree: await batch.tree() });
  return status;
}
