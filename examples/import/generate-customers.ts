import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/*
 * Writes data/customers.csv, always the same 5,000 rows, with the dirt of a file that came out of a spreadsheet:
 *
 *   npx tsx examples/import/generate-customers.ts
 */

const ROWS = 5_000;
const FILE = fileURLToPath(new URL('./data/customers.csv', import.meta.url));

/** Each as often as its number says. */
const ORGANIZATIONS: readonly (readonly [name: string, weight: number])[] = [
  ['Aurora Foods', 9],
  ['Brightwater, Hale & Co.', 7],
  ['Café Società Milano', 4],
  ['Delta "Fast" Couriers', 6],
  ['Fjällräven Sjöfart AB', 5],
  ['Grupo Andino de Energía', 8],
  ['Harbour & Sons', 3],
  ['Internationale Vereinigung der Werkzeugmaschinenhersteller e.V.', 6],
  ['Kowalczyk i Wspólnicy', 5],
  ['北京云图科技', 7],
  ['Nordlicht Versicherungen', 12],
  ["O'Brien Logistics", 2],
];

const FIRST_NAMES = (
  'Ada José Zoë Łukasz Anna Björn Chloé Dmitri Élodie Fatima Grace Hiroshi Inês Jürgen Katarzyna Liam Marta Noor ' +
  'Olga Paul Quentin Renée Søren Tomáš Ursula Víctor Wanjiru Xavier Yusuf Zuzanna'
).split(' ');
const LAST_NAMES = (
  "Lovelace García Müller Nowak Ødegård D'Angelo Fernández Háček Ivanov Jørgensen Kim Łuczak Martin Núñez O'Neill " +
  'Petrov Quispe Rossi Smith Tanaka Ünal Varga Wójcik Xu Yılmaz Zimmermann'
).split(' ');
const HAN_NAMES = ['李小龙', '王芳', '张伟', '刘洋', '陈静', '杨光', '赵敏', '黄磊'];
const COUNTRIES = ['DE', 'ES', 'FR', 'PL', 'SE', 'IT', 'GB', 'IE', 'CN', 'PE', 'KE', 'JP'];
const DOMAINS = ['example.com', 'mail.example.org', 'post.example.net', 'büro.example'];

/** Mulberry32: the same numbers for the same seed, on every machine. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const random = randomNumbers(1815);
const chance = (percent: number) => random() * 100 < percent;

function pick<T>(from: readonly T[]): T {
  return from[Math.floor(random() * from.length)] as T;
}

const BY_WEIGHT = ORGANIZATIONS.flatMap(([name, weight]) => Array<string>(weight).fill(name));

function personsName(): string {
  if (chance(4)) return pick(HAN_NAMES);
  const [first, last] = [pick(FIRST_NAMES), pick(LAST_NAMES)];
  if (chance(3)) return `${last}, ${first}`;
  if (chance(1)) return `${first} "${first.slice(0, 3)}" ${last}`;
  if (chance(0.5)) return `${first}\r\n${last}`;
  return `${first} ${last}`;
}

function emailOf(name: string, number: number): string {
  const plain = name
    .normalize('NFD')
    .replace(/\p{M}/gu, '')
    .replace(/[Łł]/g, 'l')
    .replace(/[Øø]/g, 'o')
    .replace(/[^A-Za-z]+/g, '.');
  const local = plain.replace(/^\.+|\.+$/g, '').toLowerCase() || 'customer';
  return `${local}.${number}@${pick(DOMAINS)}`;
}

function malformed(email: string): string {
  return pick([
    email.replace('@', ''),
    email.replace('@', ' at '),
    email.replace('@', '@@'),
    email.replace(/@.*/, '@localhost'),
    email.replace(/^[^@]*/, ''),
    email.replace('.', ' '),
    'n/a',
  ]);
}

/** How the same address looks when somebody else has typed it. */
function retyped(email: string): string {
  return pick([
    email,
    email.toUpperCase(),
    ` ${email}`,
    `${email}  `,
    email.replace(/^./, (letter) => letter.toUpperCase()),
  ]);
}

const padded = (value: string) => (chance(2) ? pick([` ${value}`, `${value} `, `  ${value}  `]) : value);

function rows(): string[][] {
  const emails: string[] = [];
  return Array.from({ length: ROWS }, (_, i) => {
    const name = personsName();
    let email = emailOf(name, i);
    if (chance(1.4) && emails.length > 0) {
      email = retyped(pick(emails));
    } else {
      emails.push(email);
      if (chance(1.3)) email = malformed(email);
      else if (chance(1.2)) email = pick(['', '', '  ']);
    }
    const phone = chance(70)
      ? `+${10 + Math.floor(random() * 80)} ${String(Math.floor(random() * 1e9)).padStart(9, '0')}`
      : '';
    const notes = chance(3)
      ? pick(['Calls back\r\non Mondays', 'prefers e-mail, not phone', 'said "never again"', 'VIP;1'])
      : '';
    return [
      String(100_000 + i),
      chance(1) ? pick(['', ' ']) : padded(name),
      phone,
      padded(pick(COUNTRIES)),
      padded(email),
      notes,
      padded(pick(BY_WEIGHT)),
    ];
  });
}

function toCsv(records: readonly (readonly string[])[]): string {
  const field = (value: string) => (/[",\r\n]/.test(value) || chance(0.5) ? `"${value.replaceAll('"', '""')}"` : value);
  return records.map((record) => `${record.map(field).join(',')}\r\n`).join('');
}

const header = ['customer no.', 'name', 'phone', 'country', 'email', 'notes', 'organization'];
writeFileSync(FILE, `\ufeff${toCsv([header, ...rows()])}`);
