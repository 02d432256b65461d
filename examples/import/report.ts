import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import writeExcelFile, { type SheetData } from 'write-excel-file/node';
import type { Customer } from './customers.js';

export interface Rejected {
  readonly customer: Customer;
  readonly reason: string;
}

export class ReportError extends Error {
  override readonly name = 'ReportError';
}

const HEADER = ['Row', 'Organization', 'Name', 'E-mail', 'Country'];
const WIDTHS = [8, 32, 28, 36, 10, 24];

/** Writes an XLSX file with two sheets, both in the order of the imported file. A file that is there is replaced. */
export async function writeReport(path: string, imported: readonly Customer[], rejected: readonly Rejected[]) {
  const successes = imported.toSorted((a, b) => a.row - b.row).map(cellsOf);
  const errors = rejected
    .toSorted((a, b) => a.customer.row - b.customer.row)
    .map(({ customer, reason }) => [...cellsOf(customer), text(reason)]);
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeExcelFile([sheet('Success', HEADER, successes), sheet('Errors', [...HEADER, 'Reason'], errors)]).toFile(
      path,
    );
  } catch (error) {
    throw new ReportError(`The report ${path} cannot be written: ${(error as Error).message}.`, { cause: error });
  }
}

function sheet(name: string, header: readonly string[], rows: SheetData) {
  return {
    sheet: name,
    data: [header.map((value) => ({ value, fontWeight: 'bold' as const })), ...rows],
    columns: header.map((_, i) => ({ width: WIDTHS[i] ?? 20 })),
    stickyRowsCount: 1,
  };
}

function cellsOf({ row, organization, name, email, country }: Customer) {
  return [row, text(organization), text(name), text(email), text(country)];
}

const CHARACTERS_OF_LONGEST_CELL = 32_767;

function text(value: string): string | null {
  // write-excel-file 4.1.1 looks strings up in a plain object: one called 'constructor' would ruin the whole file.
  const cell = value in Object.prototype ? `${value} ` : value;
  return cell.slice(0, CHARACTERS_OF_LONGEST_CELL) || null;
}
