import { styleText } from 'node:util';
import cliProgress from 'cli-progress';
import { column, number, printable, widthOf } from './text.js';

/** How far an organization is. */
export interface OrganizationProgress {
  readonly organization: string;
  readonly rows: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly stage: 'waiting' | 'importing' | 'finishing' | 'done';
}

/** Shows the progress of an import: live bars in a terminal, plain lines everywhere else. */
export interface ProgressDisplay {
  show(organizations: readonly OrganizationProgress[]): void;
  /** Leaves what is there on the screen, and gives the terminal back. */
  stop(): void;
}

export function progressDisplay(out: NodeJS.WriteStream): ProgressDisplay {
  return out.isTTY ? bars(out) : lines(out);
}

function overall(organizations: readonly OrganizationProgress[]) {
  const sum = (of: (one: OrganizationProgress) => number) => organizations.reduce((total, one) => total + of(one), 0);
  const [rows, succeeded, failed] = [sum((one) => one.rows), sum((one) => one.succeeded), sum((one) => one.failed)];
  const settled = succeeded + failed;
  return { rows, succeeded, failed, settled, percent: rows === 0 ? 100 : Math.floor((100 * settled) / rows) };
}

// --- lines -----------------------------------------------------------------------------------------------------------

/** A line for every tenth of the rows, and one for every organization that is done. */
function lines(out: NodeJS.WriteStream): ProgressDisplay {
  const done = new Set<string>();
  let nextPercent = 10;
  return {
    show(organizations) {
      for (const { organization, rows, succeeded, failed, stage } of organizations) {
        if (stage === 'done' && !done.has(organization)) {
          done.add(organization);
          out.write(
            `${printable(organization)}: ${number(rows)} rows, ${number(succeeded)} imported, ${number(failed)} ` +
              'failed\n',
          );
        }
      }
      const { rows, settled, percent } = overall(organizations);
      if (percent >= nextPercent) {
        nextPercent = percent - (percent % 10) + 10;
        out.write(`${percent} %: ${number(settled)} of ${number(rows)} rows\n`);
      }
    },
    stop() {},
  };
}

// --- bars ------------------------------------------------------------------------------------------------------------

const WIDEST_NAME = 30;
const WIDEST_BAR = 40;
/**
 * The columns right of the bar and the gaps, and one that stays free: clearing the rest of a full line eats its end.
 */
const WIDTH_OF_NUMBERS = 45;
/** The lines that are not an organization's: the overall bar, a blank line, and what is printed above and below. */
const OTHER_LINES = 6;

function bars(out: NodeJS.WriteStream): ProgressDisplay {
  const screen = new cliProgress.MultiBar({
    stream: out,
    hideCursor: true,
    linewrap: false,
    fps: 10,
    gracefulExit: false,
    format: (_options, _params, payload: { line: () => string }) => payload.line(),
  });
  const stop = () => {
    // stop() itself would cut off lines that have changed, because it takes colours for characters.
    screen.update();
    screen.stop();
  };
  let shown: readonly OrganizationProgress[] = [];
  let started = false;
  return {
    show(organizations) {
      if (!started) {
        started = true;
        // An exception that nobody catches must not cost the user the cursor.
        process.once('exit', stop);
        shown = fitting(organizations, out.rows);
        for (const i of shown.keys()) screen.create(1, 0, { line: () => organizationLine(shown, i, out) });
        screen.create(1, 0, { line: () => '' });
        screen.create(1, 0, { line: () => overallLine(shown, out) });
      }
      shown = fitting(organizations, out.rows, shown.length);
    },
    stop() {
      process.removeListener('exit', stop);
      if (started) stop();
    },
  };
}

/** More bars than the screen has lines cannot be redrawn: then the last of them stands for all others. */
function fitting(
  organizations: readonly OrganizationProgress[],
  rows: number,
  most = Math.max(1, rows - OTHER_LINES),
): readonly OrganizationProgress[] {
  if (organizations.length <= most) return organizations;
  const others = organizations.slice(most - 1);
  const waiting = others.every(({ stage }) => stage === 'waiting');
  const done = others.every(({ stage }) => stage === 'done');
  return [
    ...organizations.slice(0, most - 1),
    {
      ...overall(others),
      organization: `… ${number(others.length)} other organizations`,
      stage: waiting ? 'waiting' : done ? 'done' : 'importing',
    },
  ];
}

function organizationLine(shown: readonly OrganizationProgress[], i: number, out: NodeJS.WriteStream): string {
  const one = shown[i];
  if (one === undefined) return '';
  const stage = one.stage === 'done' ? paint(out, 'green', 'done') : paint(out, 'dim', one.stage);
  return `${lineOf(one.organization, one, nameWidth(shown), out)}  ${stage}`;
}

function overallLine(shown: readonly OrganizationProgress[], out: NodeJS.WriteStream): string {
  const all = overall(shown);
  return `${lineOf('Overall', all, nameWidth(shown), out)}  ${all.percent} %`;
}

function lineOf(
  name: string,
  { rows, succeeded, failed }: Pick<OrganizationProgress, 'rows' | 'succeeded' | 'failed'>,
  width: number,
  out: NodeJS.WriteStream,
): string {
  const size = Math.max(10, Math.min(WIDEST_BAR, out.columns - width - WIDTH_OF_NUMBERS));
  // Whoever failed is seen: one of a thousand rows still gets a block of the bar.
  const red = failed === 0 ? 0 : Math.max(1, Math.round((size * failed) / rows));
  const green = rows === 0 ? size : Math.floor((size * (succeeded + failed)) / rows) - red;
  const bar = [
    paint(out, 'green', '█'.repeat(Math.max(0, green))),
    paint(out, 'red', '█'.repeat(red)),
    paint(out, 'dim', '░'.repeat(Math.max(0, size - Math.max(0, green) - red))),
  ].join('');
  const count = `${number(succeeded + failed).padStart(7)} / ${number(rows).padEnd(7)}`;
  const failures = `${number(failed).padStart(5)} failed`;
  return (
    `${column(printable(name), width)}  ${bar} ${count} ` +
    `${failed === 0 ? ' '.repeat(failures.length) : paint(out, 'red', failures)}`
  );
}

function paint(out: NodeJS.WriteStream, style: 'green' | 'red' | 'dim', text: string): string {
  return text !== '' && out.hasColors() ? styleText(style, text) : text;
}

function nameWidth(shown: readonly OrganizationProgress[]): number {
  return Math.min(WIDEST_NAME, Math.max(12, ...shown.map(({ organization }) => widthOf(printable(organization)))));
}
