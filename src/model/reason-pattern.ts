/** Reasons are compared up to this length. */
const LONGEST = 300;

const HOLE = '…';

/** A value in quotes. An apostrophe within a word opens none. */
const QUOTED = /(?<![^\s([{:=,])(['"`])[^'"`]*\1(?![^\s)\]},.;:!?])/g;

/** The characters around a word. */
const WORD = /^([([{'"`<]*)(.*?)([)\]}'"`>.,;:!?]*)$/s;

/** Words before a number that is part of the kind of failure: "status code 503" differs from 404. */
const CODE = /^(code|error|errno|http|status|statuscode)$/i;

/**
 * Returns what failures with the same cause have in common: the first line of the reason, with '…' for what differs
 * from member to member: numbers, ids, addresses and quoted values. The pattern of a pattern is the pattern itself.
 */
export function reasonPattern(reason: string): string {
  const words = firstLine(reason).replace(QUOTED, `$1${HOLE}$1`).split(/\s+/);
  return words
    .map((word, i) => (isCode(word, words[i - 1]) ? word : withHole(word)))
    .filter((word, i, all) => word !== HOLE || all[i - 1] !== HOLE)
    .join(' ');
}

/** The first line of a reason, or as much of it as is looked at, without half a character at its end. */
function firstLine(reason: string): string {
  const [line = ''] = reason.trim().slice(0, LONGEST).split(/\r|\n/, 1);
  return line.replace(/[\ud800-\udbff]$/, '').trim();
}

function isCode(word: string, before = ''): boolean {
  return /^\d{1,6}\W*$/.test(word) && CODE.test(before.replace(/\W+$/, ''));
}

function withHole(word: string): string {
  const [, before = '', inner = '', after = ''] = WORD.exec(word) ?? [];
  return /[\d@]/.test(inner) ? `${before}${HOLE}${after}` : word;
}
