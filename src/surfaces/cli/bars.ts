import type { BatchState, BatchStatus, BatchTree, MemberCounts } from '../../index.js';
import type { Paint } from './output.js';
import { hasEnded, lossesOf, styleOf } from './state.js';
import { number, padded, plural, printable, shortened, widthOf } from './text.js';

/*
 * A batch and those below it as lines with bars. No terminal here: what is drawn is a function of what was found.
 */

/** A batch as it was seen: its status, and the tree of those below it. */
export interface Look {
  readonly status: BatchStatus;
  readonly tree: BatchTree;
}

interface Bar {
  readonly name: string;
  readonly counts: MemberCounts;
  readonly progress: number;
  readonly state: BatchState;
}

export interface Space {
  readonly columns: number;
  /** At least 2. */
  readonly rows: number;
}

const WIDEST_NAME = 40;
const WIDEST_BAR = 40;
const NARROWEST_BAR = 5;
const NARROWEST_NAME = 8;

/** The numbers to show for a batch: with child batches those of all jobs below, otherwise its own, which are newer. */
export function jobsOf({ status, tree }: Look): MemberCounts & { readonly progress: number } {
  const jobs = tree.children.length === 0 ? status : tree.jobs;
  // The tree may have been read after the status, and say 100 % before the batch has finished.
  return hasEnded(status.state) ? jobs : { ...jobs, progress: Math.min(99, jobs.progress) };
}

/** The lines of all batches, not more than there are rows: then those that are under way go first. */
export function barLines(look: Look, { columns, rows }: Space, paint: Paint): string[] {
  const { status } = look;
  const counts = jobsOf(look);
  const root: Bar = { name: nameOf(status), counts, progress: counts.progress, state: status.state };
  const below = look.tree.children.flatMap((child) => [...barsOf(child)]);
  const shown = below.length < rows ? below : mostUrgent(below, Math.max(0, rows - 2));
  const lines = aligned([root, ...shown], columns, paint);
  return shown.length === below.length ? lines : [...lines, restLine(below, shown, columns, paint)];
}

/** Walks the tree with an explicit stack: batches can be nested deeper than the call stack allows. */
function* barsOf(child: BatchTree): Generator<Bar> {
  const stack = [{ tree: child, depth: 1 }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { tree, depth } = next;
    const { jobs, state } = tree;
    yield { name: `${'  '.repeat(Math.min(depth, 4))}${nameOf(tree)}`, counts: jobs, progress: jobs.progress, state };
    for (const below of [...tree.children].reverse()) {
      stack.push({ tree: below, depth: depth + 1 });
    }
  }
}

function mostUrgent(bars: readonly Bar[], count: number): readonly Bar[] {
  const urgent = [...bars.filter(({ state }) => !hasEnded(state)), ...bars.filter(({ state }) => hasEnded(state))];
  const chosen = new Set(urgent.slice(0, count));
  return bars.filter((bar) => chosen.has(bar));
}

function restLine(all: readonly Bar[], shown: readonly Bar[], columns: number, paint: Paint): string {
  const rest = all.filter((bar) => !shown.includes(bar));
  const states = [...countStates(rest)].map(([state, count]) => `${number(count)} ${state}`).join(', ');
  return paint(
    'dim',
    shortened(`  … ${plural(rest.length, 'more child batch', 'more child batches')}: ${states}`, columns),
  );
}

function countStates(bars: readonly Bar[]): Map<BatchState, number> {
  const counts = new Map<BatchState, number>();
  for (const { state } of bars) {
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  return counts;
}

function aligned(bars: readonly Bar[], columns: number, paint: Paint): string[] {
  const percents = bars.map(({ progress }) => `${progress} %`.padStart(5));
  const counts = bars.map(({ counts: { total, pending } }) => `${number(total - pending)}/${number(total)}`);
  const widest = (texts: readonly string[]) => Math.max(0, ...texts.map(widthOf));
  const countWidth = widest(counts);
  const notes = bars.map(({ counts: of, state }) => [state, ...lossesOf(of)].join(', '));
  const noteWidth = widest(notes);
  const free = columns - 5 - 2 - countWidth - 2 - noteWidth - 2;
  const wanted = Math.min(WIDEST_NAME, widest(bars.map(({ name }) => name)));
  const nameWidth = Math.max(Math.min(wanted, NARROWEST_NAME), Math.min(wanted, free - 1 - NARROWEST_BAR - 2));
  const barWidth = Math.min(WIDEST_BAR, free - nameWidth - 1);
  return bars.map((bar, i) => {
    const [percent = '', count = '', note = ''] = [percents[i], counts[i], notes[i]];
    const head = padded(bar.name, nameWidth);
    const before = barWidth < NARROWEST_BAR ? `${head} ` : `${head}  ${barOf(bar, barWidth, paint)} `;
    const used = barWidth < NARROWEST_BAR ? nameWidth + 1 : nameWidth + 3 + barWidth;
    const after = shortened(`${percent}  ${count.padStart(countWidth)}  ${note}`, Math.max(0, columns - used));
    return before + after.replace(bar.state, (state) => paint(styleOf(state), state));
  });
}

function barOf({ counts, state }: Bar, width: number, paint: Paint): string {
  const { total, pending, succeeded } = counts;
  if (total === 0) {
    return hasEnded(state) ? paint('green', '█'.repeat(width)) : paint('dim', '░'.repeat(width));
  }
  const lost = total - pending - succeeded;
  const settled = Math.floor((width * (total - pending)) / total);
  // One failed job of a thousand still gets a block of the bar.
  const red = lost === 0 ? 0 : Math.min(width, Math.max(1, Math.round((width * lost) / total)));
  const green = Math.max(0, settled - red);
  return [
    paint('green', '█'.repeat(green)),
    paint('red', '▓'.repeat(red)),
    paint('dim', '░'.repeat(width - green - red)),
  ].join('');
}

const nameOf = ({ id, description }: Pick<BatchStatus, 'id' | 'description'>) => printable(description ?? id);
