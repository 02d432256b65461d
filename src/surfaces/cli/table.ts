import type { Output, Paint, Style } from './output.js';
import { padded, printable, shortened, widthOf } from './text.js';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** Gives way when the table is too wide. */
  readonly isElastic?: boolean;
  /** Left out, the last one first, when the elastic columns have given all that they can. */
  readonly isOptional?: boolean;
  /** Never cut, for what people copy: what takes more than half of a terminal has a line of its own. */
  readonly staysWhole?: boolean;
}

export type Cell = string | { readonly text: string; readonly style: Style | undefined };

const GAP = '  ';
const LEAST_ELASTIC = 10;

/** Aligned lines; the first rows say how wide each column is, for those that follow too. */
export class Table {
  readonly #columns: readonly { readonly column: Column; readonly width: number; readonly index: number }[];

  constructor(
    columns: readonly Column[],
    firstRows: readonly (readonly Cell[])[],
    private readonly available: number,
    private readonly paint: Paint,
  ) {
    const wanted = columns.map((column, index) => ({
      column,
      index,
      width: widthWanted(
        column,
        firstRows.map((row) => widthOf(textOf(row[index]))),
        available,
      ),
    }));
    this.#columns = fitting(wanted, available);
  }

  header(): string {
    const titles = this.#columns.map(({ column, width }) => padded(column.title, width, column.align));
    return this.paint('dim', shortened(titles.join(GAP).trimEnd(), this.available));
  }

  row(cells: readonly Cell[]): string {
    const line = this.#columns.map(({ column, width, index }, i) => {
      const cell = cells[index];
      const isLast = i === this.#columns.length - 1;
      const whole = textOf(cell);
      if (column.staysWhole && widthOf(whole) > width) {
        return `${whole}\n${' '.repeat(width)}`;
      }
      const text = isLast && column.align !== 'right' ? shortened(whole, width) : padded(whole, width, column.align);
      return typeof cell === 'object' ? this.paint(cell.style, text) : text;
    });
    return line.join(GAP);
  }
}

function widthWanted({ title, staysWhole }: Column, widths: readonly number[], available: number): number {
  const most = staysWhole ? Math.floor(available / 2) : Number.POSITIVE_INFINITY;
  return Math.max(widthOf(title), ...widths.filter((width) => width <= most));
}

/** A whole table: its header and rows. */
export function tableLines(columns: readonly Column[], rows: readonly (readonly Cell[])[], out: Output): string[] {
  const table = new Table(columns, rows, out.columns, out.paint);
  return [table.header(), ...rows.map((row) => table.row(row))].map((line) => line.trimEnd());
}

const textOf = (cell: Cell | undefined) => printable(typeof cell === 'object' ? cell.text : (cell ?? ''));

interface Sized {
  readonly column: Column;
  readonly index: number;
  readonly width: number;
}

function fitting(columns: readonly Sized[], available: number): readonly Sized[] {
  const excess = columns.reduce((sum, { width }) => sum + width, GAP.length * (columns.length - 1)) - available;
  if (excess <= 0) {
    return columns;
  }
  const give = ({ column, width }: Sized) => (column.isElastic ? Math.max(0, width - LEAST_ELASTIC) : 0);
  const most = columns.reduce((sum, one) => sum + give(one), 0);
  const optional = columns.findLast(({ column }) => column.isOptional);
  if (most < excess && optional !== undefined) {
    return fitting(
      columns.filter((one) => one !== optional),
      available,
    );
  }
  let left = Math.min(excess, most);
  return columns.map((one) => {
    const share = Math.min(left, Math.ceil((give(one) / Math.max(1, most)) * Math.min(excess, most)));
    left -= share;
    return { ...one, width: one.width - share };
  });
}
