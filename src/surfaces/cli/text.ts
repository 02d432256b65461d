/*
 * Texts on their way to people. Descriptions, names and reasons come from whoever made the jobs.
 */

const ESC = '\u001b';

/** A control sequence of a terminal, with its parameters. */
const SEQUENCE = new RegExp(
  [
    `${ESC}\\][^\u0007${ESC}]*(?:\u0007|${ESC}\\\\)`,
    `(?:${ESC}\\[|\u009b)[0-?]*[ -/]*[@-~]`,
    `${ESC}[ -/]*[0-Z\\^-~]`,
  ].join('|'),
  'g',
);

/** Control characters, and those that turn the direction of writing. */
const CONTROL = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** The text in one line, and without anything that controls a terminal. */
export function printable(text: string): string {
  return withoutSequences(text).replace(CONTROL, ' ').replace(/ {2,}/g, ' ').trim();
}

export const withoutSequences = (text: string) => text.replace(SEQUENCE, '');

/** One line of JSON, in which characters that control a terminal are escaped. */
export function jsonLine(value: unknown): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replace(/[\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, escaped);
}

/** The text with '…' for what does not fit. */
export function shortened(text: string, width: number): string {
  if (widthOf(text) <= width) {
    return text;
  }
  let cut = '';
  let left = width - 1;
  for (const character of text) {
    left -= widthOf(character);
    if (left < 0) {
      break;
    }
    cut += character;
  }
  return width < 1 ? '' : `${cut}…`;
}

export function padded(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const short = shortened(text, width);
  const space = ' '.repeat(Math.max(0, width - widthOf(short)));
  return align === 'left' ? short + space : space + short;
}

const NO_WIDTH = /[\p{M}\p{Cf}]/gu;
const DOUBLE_WIDTH = new RegExp(
  '[\\p{Script=Han}\\p{Script=Hangul}\\p{Script=Hiragana}\\p{Script=Katakana}' +
    '\\p{Emoji_Presentation}\\u3000-\\u303e\\uff01-\\uff60]',
  'gu',
);

/** How many columns of a terminal a text takes: East Asian characters are two wide, accents of their own none. */
export function widthOf(text: string): number {
  const visible = text.replace(NO_WIDTH, '');
  return [...visible].length + (visible.match(DOUBLE_WIDTH)?.length ?? 0);
}

/** The text in lines of this width, broken between words; the first one stands behind something as wide as `indent`. */
export function wrapped(text: string, width: number, indent = ''): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && widthOf(indent) + widthOf(longer) > width) {
      lines.push(line);
      line = word;
    } else {
      line = longer;
    }
  }
  return [...lines, line].join(`\n${indent}`);
}

/** Names with their values below each other, for what is known of one thing. */
export function fields(
  pairs: readonly (readonly [name: string, value: string | undefined])[],
  width: number,
): string[] {
  const known = pairs.filter((pair): pair is readonly [string, string] => pair[1] !== undefined);
  const column = Math.max(...known.map(([name]) => name.length)) + 2;
  const indent = ' '.repeat(column);
  return known.map(([name, value]) => padded(name, column) + wrapped(value, width, indent));
}

export const plural = (count: number, one: string, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export const number = (value: number) => value.toLocaleString('en-US');

const UNITS: readonly (readonly [name: string, ms: number])[] = [
  ['day', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
];

/** "3 min": the largest unit of which there is one. */
export function duration(ms: number): string {
  const [name, size] = UNITS.find(([, unit]) => ms >= unit) ?? ['s', 1000];
  const count = Math.floor(ms / size);
  return name === 'day' ? plural(count, 'day') : `${count} ${name}`;
}

export function ago(time: number, now = Date.now()): string {
  // The clock of the machine that created the batch may be ahead of this one's.
  return now - time < 1000 ? 'just now' : `${duration(now - time)} ago`;
}

/** Local time with its offset, e.g. 2026-03-01T09:05:00+01:00. */
export function localIso(time: number): string {
  const offset = -new Date(time).getTimezoneOffset();
  const local = new Date(time + offset * 60_000).toISOString().slice(0, 19);
  const two = (value: number) => String(Math.trunc(value)).padStart(2, '0');
  return `${local}${offset < 0 ? '-' : '+'}${two(Math.abs(offset) / 60)}:${two(Math.abs(offset) % 60)}`;
}

/** How sentences name a batch: with its id and description. */
export function called({ id, description }: { readonly id: string; readonly description: string | undefined }): string {
  return description === undefined ? `batch ${printable(id)}` : `batch ${printable(id)} '${printable(description)}'`;
}

/** Quotes an argument for a shell, where that is needed. */
export function quoted(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${printable(argument).replaceAll("'", "'\\''")}'`;
}
