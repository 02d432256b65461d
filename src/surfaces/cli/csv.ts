/*
 * CSV as in RFC 4180, for spreadsheets: what begins like a formula must not become one.
 */

/** Spreadsheets in East Asian languages take the full-width signs for the others. */
const FORMULA = /^[=+\-@＝＋－＠\t\r\n]/;
const NUMBER = /^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i;

/** One line with its end. */
export function csvLine(values: readonly unknown[]): string {
  return `${values.map((value) => enclosed(cellOf(value))).join(',')}\r\n`;
}

function cellOf(value: unknown): string {
  if (value === undefined || value === null) {
    return '';
  }
  return typeof value === 'string' ? harmless(value) : JSON.stringify(value);
}

function harmless(text: string): string {
  return FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
}

function enclosed(cell: string): string {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
