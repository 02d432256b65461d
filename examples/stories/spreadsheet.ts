// A spreadsheet comes in, as XLSX or CSV; its owner gets one by mail with what was imported and what was not.
// When its time is over, nothing of it is left.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { type Job, Queue, UnrecoverableError, Worker } from 'bullmq';
import { parse } from 'csv-parse/sync';
import { Redis } from 'ioredis';
import { createTransport } from 'nodemailer';
import readSheets, { readSheet } from 'read-excel-file/node';
import { SMTPServer } from 'smtp-server';
import writeSheets, { type Row } from 'write-excel-file/node';
import { BatchWorker, withBatches } from '../../src/index.js';
import { place } from './place.js';

const customers = withBatches(new Queue('customers', place));
const batches = new Queue('batches', place);
const HEADER = ['Row', 'Name', 'E-mail'];

// What two users upload.
const JUNE = parse('Name,E-mail\nAda,ada@example.com\nBill,\nEve,at home\nAl,al@example.com\n');
const FILES: Readonly<Record<string, Buffer>> = {
  'june.xlsx': await writeSheets([{ sheet: 'Customers', data: JUNE }]).toBuffer(),
  'july.csv': Buffer.from('Name,E-mail\nJo,\n"Hopper, Grace",grace@example.com\n'),
};

// A mail server that prints what it gets.
const server = new SMTPServer({
  disabledCommands: ['AUTH', 'STARTTLS'],
  async onData(stream, { envelope }, done) {
    const message = await text(stream);
    console.log(`To ${envelope.rcptTo[0]?.address}: ${/^Subject: (.+)$/m.exec(message)?.[1]}`);
    const [, attached = ''] = /name=report\.xlsx.*?\r\n\r\n([\w+/=\r\n]+)/s.exec(message) ?? [];
    for (const { sheet, data } of await readSheets(Buffer.from(attached, 'base64'))) {
      console.log(`${sheet}: ${data.map((cells) => cells.join('|')).join('; ')}`);
    }
    done();
  },
}).listen(0, '127.0.0.1');
await once(server, 'listening');
const mail = createTransport({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });

async function* rowsOf(file: string, content: Buffer) {
  const [, ...rows]: Iterable<unknown[]> = file.endsWith('.csv') ? parse(content) : await readSheet(content);
  for (const [i, [name, email]] of rows.entries()) yield { name: 'row', data: { row: i + 2, name, email } };
}

function importRow({ data: { row, name, email } }: Job) {
  // Trying it again would not make it valid.
  if (!email) throw new UnrecoverableError('no e-mail address');
  if (!/^\S+@\S+$/.test(email)) throw new UnrecoverableError('not an e-mail address');
  return [row, name, email];
}

async function mailReport({ data: { batch } }: Job) {
  const upload = await customers.getBatch(batch.id);
  const [imported, rejected]: [Row[], Row[]] = [[], []];
  for await (const { value } of upload.results({ ordered: true })) imported.push(value);
  for await (const { data, reason } of upload.failures()) rejected.push([data.row, data.name, data.email, reason]);
  const report = writeSheets([
    { sheet: 'Imported', data: [HEADER, ...imported] },
    { sheet: 'Rejected', data: [[...HEADER, 'Reason'], ...rejected.sort(([a], [b]) => Number(a) - Number(b))] },
  ]);
  await mail.sendMail({
    from: 'import@example.com',
    to: batch.metadata.owner,
    subject: batch.description,
    // A job can run twice: then both mails are one message to most mail programs.
    messageId: `<${batch.id}@example.com>`,
    attachments: [{ filename: 'report.xlsx', content: await report.toBuffer() }],
  });
}

const worker = new Worker('customers', async (job) => (job.name === 'row' ? importRow(job) : mailReport(job)), place);
const batchWorker = new BatchWorker({ ...place, reconcileInterval: 500 });

for (const [file, content] of Object.entries(FILES)) {
  const upload = await customers.addBatch(
    {
      id: file,
      description: `Import of ${file}`,
      metadata: { owner: 'ada@example.com' },
      onFailure: 'allow',
      // In seconds, from the end of the batch. Its members go with it: their data is what must not stay.
      keep: { age: 1, members: true },
      on: { complete: { name: 'report', opts: { attempts: 3 } } },
    },
    rowsOf(file, content),
  );
  console.log((await upload.waitUntilFinished()).state);
}
// → To ada@example.com: Import of june.xlsx
// → Imported: Row|Name|E-mail; 2|Ada|ada@example.com; 5|Al|al@example.com
// → Rejected: Row|Name|E-mail|Reason; 3|Bill||no e-mail address; 4|Eve|at home|not an e-mail address
// → succeeded
// → To ada@example.com: Import of july.csv
// → Imported: Row|Name|E-mail; 3|Hopper, Grace|grace@example.com
// → Rejected: Row|Name|E-mail|Reason; 2|Jo||no e-mail address
// → succeeded

// What a queue has for itself stays as long as the queue; all other keys are of jobs and batches.
const redis = new Redis(place.connection.url);
async function hasKeysOfUploads() {
  for await (const keys of redis.scanStream({ match: `${place.prefix}:*` })) {
    if (keys.some((key: string) => !/:(meta|events|id|marker|stalled-check|reconciler:leader)$/.test(key))) return true;
  }
  return false;
}
while (await hasKeysOfUploads()) await pause(100);
// BullMQ's events have the return values too, and the metadata: the latest 10,000 events of each queue stay otherwise.
for (const queue of [customers, batches]) await queue.trimEvents(0);
console.log('Nothing is left');
// → Nothing is left

mail.close();
server.close();
redis.disconnect();
await Promise.all([worker, batchWorker, customers, batches].map((one) => one.close()));
