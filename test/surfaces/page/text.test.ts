import { CLIENT_SCRIPT } from '../../../src/surfaces/page/assets.js';
import { ago, cut, duration, rate, timeLeft } from '../../../src/surfaces/page/text.js';
import { describe, expect, test } from '../../support/test.js';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

describe('times and numbers in words', () => {
  test.for([
    [0, '0 ms', 'less than a minute left'],
    [59 * SECOND, '59 s', 'less than a minute left'],
    [MINUTE, '1 min', 'about 1 min left'],
    [2 * MINUTE + 5 * SECOND, '2 min 5 s', 'about 3 min left'],
    [2 * HOUR + 2 * MINUTE, '2 h 2 min', 'about 2 h 10 min left'],
    [3 * HOUR, '3 h', 'about 3 h left'],
    [DAY + HOUR, '1 d 1 h', 'about 1 day left'],
    [12 * DAY, '12 d', 'about 12 days left'],
    [90 * DAY, '90 d', 'more than a month left'],
  ] as const)('%i ms are %s, or %s', ([ms, long, left]) => {
    expect([duration(ms), timeLeft(ms)]).toEqual([long, left]);
  });

  test.for([
    [1234.5, '1,235 per second'],
    [3.14, '3.1 per second'],
    [0.5, '30 per minute'],
    [0.001, '3.6 per hour'],
  ] as const)('%f per second is %s', ([perSecond, said]) => {
    expect(rate(perSecond)).toBe(said);
  });

  test.for([
    [0, 'just now'],
    [-HOUR, 'just now'],
    [30 * SECOND, '30 s ago'],
    [90 * MINUTE, '1 h ago'],
    [3 * DAY, '3 d ago'],
  ] as const)('%i ms ago is %s', ([ms, said]) => {
    expect(ago(1_000_000_000_000 - ms, 1_000_000_000_000)).toBe(said);
  });
});

test('cut() never breaks a character', () => {
  expect(cut('ab😀cd', 3)).toEqual(['ab', '😀cd']);
  expect(cut('ab😀cd', 4)).toEqual(['ab😀', 'cd']);
  expect(cut('ab', 4)).toEqual(['ab', '']);
});

test('the script of the page is one that browsers can read, and does not end its own element', () => {
  expect(() => new Function(CLIENT_SCRIPT)).not.toThrow();
  expect(CLIENT_SCRIPT).not.toMatch(/<\/script|<!--/i);
});
