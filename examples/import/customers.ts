import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import { CsvError, type Info, parse } from 'csv-parse';
import { printable, shortened } from './text.js';

/** One row of the file. */
export interface Customer {
  /** As a spreadsheet numbers it: the header is row 1. */
  readonly row: number;
  readonly organization: string;
  readonly name: string;
  readonly email: string;
  readonly country: string;
  /** The earlier row that has imported this e-mail. */
  readonly duplicateOf?: number;
}

/** The file cannot be imported. */
export class CustomerFileError extends Error {
  override readonly name = 'CustomerFileError';
}

const COLUMNS = ['organization', 'name', 'email', 'country'] as const;
type Column = (typeof COLUMNS)[number];

const NO_ORGANIZATION = '(none)';
const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;
const BYTES_OF_LONGEST_ROW = 128 * 1024;

/** Why a row cannot be imported, or undefined. */
export function problemOf({ name, email, duplicateOf }: Customer): string | undefined {
  if (name === '') return 'name is missing';
  if (email === '') return 'e-mail is missing';
  if (!EMAIL.test(email)) return 'e-mail is malformed';
  if (duplicateOf !== undefined) return `duplicate of row ${duplicateOf}`;
  return undefined;
}

/** Reads the file through once: counts its rows by organization, and finds out whether it can be read at all. */
export async function surveyFile(
  file: string,
  signal: AbortSignal,
): Promise<{ rows: number; organizations: ReadonlyMap<string, number> }> {
  await checkIsFile(file);
  let rows = 0;
  const organizations = new Map<string, number>();
  for await (const { organization } of readCustomers(file, signal)) {
    rows++;
    organizations.set(organization, (organizations.get(organization) ?? 0) + 1);
  }
  return { rows, organizations };
}

/** Streams the rows of one organization: the same ones each time. */
export async function* customersOf(file: string, organization: string, signal: AbortSignal): AsyncGenerator<Customer> {
  for await (const customer of readCustomers(file, signal)) {
    if (customer.organization === organization) yield customer;
  }
}

/** Keeps the row of each imported e-mail, and nothing else, in memory. */
async function* readCustomers(file: string, signal: AbortSignal): AsyncGenerator<Customer> {
  const importedFrom = new Map<string, number>();
  for await (const { row, values } of readRows(file, signal)) {
    const customer = { row, ...values, organization: values.organization || NO_ORGANIZATION };
    const key = customer.email.toLowerCase();
    const duplicateOf = importedFrom.get(key);
    if (duplicateOf !== undefined) {
      yield { ...customer, duplicateOf };
      continue;
    }
    if (problemOf(customer) === undefined) importedFrom.set(key, row);
    yield customer;
  }
}

async function* readRows(
  file: string,
  signal: AbortSignal,
): AsyncGenerator<{ row: number; values: Record<Column, string> }> {
  let hasHeader = false;
  const parser = parse({
    bom: true,
    trim: true,
    info: true,
    skipEmptyLines: true,
    recordDelimiter: ['\r\n', '\n', '\r'],
    maxRecordSize: BYTES_OF_LONGEST_ROW,
    columns: (header: string[]) => {
      hasHeader = true;
      return wantedColumns(file, header);
    },
  });
  // An error comes out of the loop below.
  pipeline(createReadStream(file, { signal }), parser, () => {});
  try {
    for await (const { info, record } of parser as AsyncIterable<{ info: Info; record: Record<Column, string> }>) {
      yield { row: 1 + info.records + info.empty_lines, values: trimmed(record) };
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    throw new CustomerFileError(`${file} is not a well-formed CSV file. ${error.message}`, { cause: error });
  }
  if (!hasHeader) throw new CustomerFileError(`${file} is empty: its first line must name the columns.`);
}

function wantedColumns(file: string, header: readonly string[]) {
  const names = header.map((name) => name.trim());
  for (const column of COLUMNS) {
    const occurrences = names.filter((name) => name === column).length;
    if (occurrences === 0) {
      const list = shortened(printable(names.join(', ')), 120);
      throw new CustomerFileError(
        `${file} has no column '${column}'. Its columns are: ${list}. Needed are ${COLUMNS.join(', ')}, separated by commas.`,
      );
    }
    if (occurrences > 1) throw new CustomerFileError(`${file} has ${occurrences} columns '${column}'.`);
  }
  return names.map((name) => COLUMNS.find((column) => column === name) ?? false);
}

function trimmed({ organization, name, email, country }: Record<Column, string>): Record<Column, string> {
  return { organization: organization.trim(), name: name.trim(), email: email.trim(), country: country.trim() };
}

async function checkIsFile(file: string): Promise<void> {
  const found = await stat(file).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === 'ENOENT' ? 'there is no such file' : error.message;
    throw new CustomerFileError(`${file} cannot be read: ${why}.`, { cause: error });
  });
  if (found.isDirectory()) throw new CustomerFileError(`${file} is a directory, not a CSV file.`);
  if (!found.isFile()) throw new CustomerFileError(`${file} is not an ordinary file.`);
}
