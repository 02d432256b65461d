import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import { CsvError, type Info, parse } from 'csv-parse';
import { printable, shortened } from './text.js';

/** A row of the file; its values are trimmed. */
export interface Customer {
  /** As a spreadsheet counts them: the header is row 1. */
  readonly row: number;
  readonly organization: string;
  readonly name: string;
  readonly email: string;
  readonly country: string;
  /** The row that this e-mail is imported from, when it is an earlier one. */
  readonly duplicateOf?: number;
}

/** What the file contains, as far as it has to be known before the import begins. */
export interface Contents {
  readonly rows: number;
  /** Rows per organization, in the order in which they appear. */
  readonly organizations: ReadonlyMap<string, number>;
}

/** The file cannot be imported at all. The message is for the person who chose it. */
export class CustomerFileError extends Error {
  override readonly name = 'CustomerFileError';
}

const COLUMNS = ['organization', 'name', 'email', 'country'] as const;
type Column = (typeof COLUMNS)[number];

const NO_ORGANIZATION = '(none)';
const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;

/** More than this is not a customer but a quote that was never closed. */
const BYTES_OF_LONGEST_ROW = 128 * 1024;

/** Says why a customer cannot be imported, or nothing. */
export function problemOf({ name, email, duplicateOf }: Omit<Customer, 'row'>): string | undefined {
  if (name === '') return 'name is missing';
  if (email === '') return 'e-mail is missing';
  if (!EMAIL.test(email)) return 'e-mail is malformed';
  if (duplicateOf !== undefined) return `duplicate of row ${duplicateOf}`;
  return undefined;
}

/** Reads the whole file once: it is known to be well-formed before anything is imported from it. */
export async function surveyFile(file: string, signal?: AbortSignal): Promise<Contents> {
  await checkIsFile(file);
  let rows = 0;
  const organizations = new Map<string, number>();
  for await (const { organization } of readCustomers(file, signal)) {
    rows++;
    organizations.set(organization, (organizations.get(organization) ?? 0) + 1);
  }
  return { rows, organizations };
}

/** Streams the rows of one organization. Reading again gives the same rows, as long as nobody changes the file. */
export async function* customersOf(file: string, organization: string, signal?: AbortSignal): AsyncGenerator<Customer> {
  for await (const customer of readCustomers(file, signal)) {
    if (customer.organization === organization) yield customer;
  }
}

/**
 * Streams all rows. Which of two rows with the same e-mail is the duplicate is decided here, by their order in the
 * file, and not by which is imported first: so it is the same in each run, and a job that runs twice is not its own
 * duplicate. It costs the only memory that grows with the file, an entry per distinct e-mail.
 */
async function* readCustomers(file: string, signal?: AbortSignal): AsyncGenerator<Customer> {
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

type Row = { readonly row: number; readonly values: Record<Column, string> };

async function* readRows(file: string, signal?: AbortSignal): AsyncGenerator<Row> {
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
  // Errors of either stream come out of the parser.
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

/** The header, with false for the columns that are to be ignored. */
function wantedColumns(file: string, header: readonly string[]): (Column | false)[] {
  const names = header.map((name) => name.trim());
  for (const column of COLUMNS) {
    const occurrences = names.filter((name) => name === column).length;
    if (occurrences === 0) {
      const list = shortened(printable(names.join(', ')), 120);
      throw new CustomerFileError(
        `${file} has no column '${column}'. Its columns are: ${list}. Needed are ${COLUMNS.join(', ')}, separated ` +
          'by commas.',
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
  // It is read more than once, which a pipe cannot be.
  if (!found.isFile()) throw new CustomerFileError(`${file} is not an ordinary file.`);
}
