/** Texts from the file, on their way to the terminal. */

export const number = (value: number) => value.toLocaleString('en-US');

/** Whatever file was chosen, it does not get to control the terminal. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, ' ');
}

/** The text in a column of this width. */
export function column(text: string, width: number): string {
  const short = shortened(text, width);
  return short + ' '.repeat(width - widthOf(short));
}

/** The text with '…' for what does not fit. */
export function shortened(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let cut = '';
  let left = width - 1;
  for (const character of text) {
    left -= widthOf(character);
    if (left < 0) break;
    cut += character;
  }
  return `${cut}…`;
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
