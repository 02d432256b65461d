/*
 * Numbers and times in words, for the pages that the server renders and for the script in the browser.
 */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export function number(value: number): string {
  return value.toLocaleString('en-US');
}

export function plural(count: number, noun: string, many = `${noun}s`): string {
  return `${number(count)} ${count === 1 ? noun : many}`;
}

/** E.g. "2 h 5 min": two units at most, and no more precision than anybody reads. */
export function duration(ms: number): string {
  if (ms < SECOND) {
    return `${Math.max(0, Math.round(ms))} ms`;
  }
  if (ms < MINUTE) {
    return `${Math.floor(ms / SECOND)} s`;
  }
  if (ms < HOUR) {
    return two(ms, [MINUTE, 'min'], [SECOND, 's']);
  }
  return ms < DAY ? two(ms, [HOUR, 'h'], [MINUTE, 'min']) : two(ms, [DAY, 'd'], [HOUR, 'h']);
}

function two(ms: number, [large, largeName]: [number, string], [small, smallName]: [number, string]): string {
  const [whole, rest] = [Math.floor(ms / large), Math.floor((ms % large) / small)];
  return rest === 0 ? `${whole} ${largeName}` : `${whole} ${largeName} ${rest} ${smallName}`;
}

export function ago(time: number, now = Date.now()): string {
  const ms = now - time;
  if (ms < 5 * SECOND) {
    return 'just now';
  }
  if (ms < MINUTE) {
    return `${Math.floor(ms / SECOND)} s ago`;
  }
  if (ms < HOUR) {
    return `${Math.floor(ms / MINUTE)} min ago`;
  }
  return ms < DAY ? `${Math.floor(ms / HOUR)} h ago` : `${Math.floor(ms / DAY)} d ago`;
}

/** E.g. "about 3 min left". */
export function timeLeft(ms: number): string {
  if (ms < MINUTE) {
    return 'less than a minute left';
  }
  if (ms < HOUR) {
    return `about ${Math.ceil(ms / MINUTE)} min left`;
  }
  return ms < DAY ? `about ${duration(Math.ceil(ms / (10 * MINUTE)) * 10 * MINUTE)} left` : daysLeft(ms);
}

function daysLeft(ms: number): string {
  const days = Math.round(ms / DAY);
  return days > 30 ? 'more than a month left' : `about ${plural(days, 'day')} left`;
}

/** E.g. "120 per second", "3.5 per minute": whichever is a number that one can imagine. */
export function rate(perSecond: number): string {
  for (const [seconds, unit] of [
    [1, 'second'],
    [60, 'minute'],
  ] as const) {
    if (perSecond * seconds >= 1) {
      return `${short(perSecond * seconds)} per ${unit}`;
    }
  }
  return `${short(perSecond * 3600)} per hour`;
}

function short(value: number): string {
  return value >= 10 ? number(Math.round(value)) : String(Math.round(value * 10) / 10);
}

/** Cuts a text into two parts, without breaking a character that takes two UTF-16 code units. */
export function cut(text: string, length: number): readonly [string, string] {
  const at = /[\ud800-\udbff]/.test(text[length - 1] ?? '') ? length - 1 : length;
  return [text.slice(0, at), text.slice(at)];
}
