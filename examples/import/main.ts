import { stat } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { serveBoard } from './board.js';
import { CustomerFileError, surveyFile } from './customers.js';
import { CustomerImport } from './import.js';
import { interruption, unlessInterrupted, untilInterrupted } from './interruption.js';
import { type Options, readOptions, shown, USAGE, UsageError } from './options.js';
import { type ImportSummary, progressOf, summaryOf } from './outcome.js';
import { progressDisplay } from './progress.js';
import { ReportError } from './report.js';
import { type RunRedis, RunRedisError, startRunRedis } from './run-redis.js';
import { number } from './text.js';

/** Each run has a prefix of its own; a service with many imports would give each an id of its own. */
const IMPORT_ID = 'import';

const LOOK_EVERY_MS = 100;

/** With 50 users at a time, about a minute for the sample: long enough to look around. */
const WATCHED_MS_PER_USER = 500;

/** Their message says everything. Of any other error, whoever works on this wants to see where it was. */
const EXPECTED = [UsageError, CustomerFileError, ReportError, RunRedisError];

const interrupted = interruption();

try {
  const options = readOptions(process.argv.slice(2));
  await (options.help ? print(USAGE) : run(options));
} catch (error) {
  if (interrupted.aborted) {
    console.error((interrupted.reason as Error).message);
    process.exit(130);
  }
  const isExpected = EXPECTED.some((kind) => error instanceof kind);
  console.error(isExpected ? (error as Error).message : error);
  process.exit(1);
}

async function run(options: Options): Promise<void> {
  const startedAt = performance.now();
  await checkReport(options.report);
  const { rows, organizations } = await surveyFile(options.path, interrupted);
  const redis = await unlessInterrupted(interrupted, startRunRedis(options.prefix));
  try {
    print(`Importing ${options.file}: ${number(rows)} rows, ${number(organizations.size)} organizations\n`);
    const seconds = () => Math.round(performance.now() - startedAt) / 1000;
    await runImport(options, organizations, redis, (summary) => printSummary(options, summary, seconds()));
  } finally {
    await redis.end();
  }
}

async function runImport(
  { path, report, board }: Options,
  organizations: ReadonlyMap<string, number>,
  { connection, prefix, option }: RunRedis,
  onFinished: (summary: ImportSummary) => void,
): Promise<void> {
  const customers = new CustomerImport({ connection, prefix }, board ? { msPerUser: WATCHED_MS_PER_USER } : {});
  const display = progressDisplay(process.stdout);
  const pages = board ? await serveBoard({ connection, prefix }, customers) : undefined;
  try {
    if (pages !== undefined) {
      const watch = `npm run batches -- watch ${IMPORT_ID} --prefix ${prefix}${option}`;
      print(`  Bull Board  ${pages.board}\n  Batches     ${pages.page}\n  Terminal    ${watch}\n`);
    }
    const batch = await customers.start(IMPORT_ID, path, [...organizations.keys()], report);
    const finished = summaryOf(batch, customers);
    finished.catch(() => {});
    let summary: ImportSummary | undefined;
    while (summary === undefined) {
      interrupted.throwIfAborted();
      display.show(await progressOf(IMPORT_ID, organizations, customers.users));
      summary = await Promise.race([finished, pause(LOOK_EVERY_MS, undefined)]);
    }
    display.show(await progressOf(IMPORT_ID, organizations, customers.users));
    display.stop();
    onFinished(summary);
    if (pages !== undefined) {
      print(`\nThe pages stay until Ctrl-C:\n  ${pages.board}\n  ${pages.page}`);
      await untilInterrupted(interrupted);
    }
  } finally {
    display.stop();
    await pages?.close();
    await customers.close();
  }
}

function printSummary({ file, report, json }: Options, summary: ImportSummary, seconds: number): void {
  const { organizations, users, csJobs, finishedUserImports, reasons } = summary;
  const callbacks = { 'finished-user-import': finishedUserImports, 'finished-import': 1 };
  const why = Object.entries(reasons).map(([reason, rows]) => `${reason} (${number(rows)})`);
  print(
    [
      '',
      `Imported ${file} in ${seconds.toFixed(1)} s`,
      `  organizations  ${number(organizations)}`,
      `  users          ${number(users.total)}: ${number(users.succeeded)} imported, ${number(users.failed)} failed`,
      ...(why.length > 0 ? [`                 ${why.join(', ')}`] : []),
      `  CS jobs        ${number(csJobs)}`,
      `  callbacks      ${Object.entries(callbacks)
        .map(([name, ran]) => `${number(ran)} × ${name}`)
        .join(', ')}`,
      `  report         ${shown(report)}`,
    ].join('\n'),
  );
  if (json) print(JSON.stringify({ file, organizations, users, csJobs, callbacks, report, seconds }));
}

/** Better to hear of it now than after the import. */
async function checkReport(path: string): Promise<void> {
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory()) throw new UsageError(`--report ${path} is a directory. Name a file in it.`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
