import { describe, expect, test } from 'vitest';
import { reasonPattern } from '../../src/model/reason-pattern.js';

describe('reasonPattern() says what failures for one cause have in common', () => {
  test.for([
    ['name is missing', 'name is missing'],
    ['duplicate of row 17', 'duplicate of row …'],
    ['duplicate of row 1,204.', 'duplicate of row ….'],
    ["there is no user 'ada'", "there is no user '…'"],
    ["can't reach it, won't try", "can't reach it, won't try"],
    ['no mailbox <ada@example.com>', 'no mailbox <…>'],
    ['order 7f3a-11 of customer 12 is unpaid', 'order … of customer … is unpaid'],
    ['row 3 4 5 is empty', 'row … is empty'],
    ['connect ECONNREFUSED 127.0.0.1:6379', 'connect ECONNREFUSED …'],
    ['33 of 200 members failed', '… of … members failed'],
    ['Request failed with status code 503', 'Request failed with status code 503'],
    ['error: 1062, duplicate entry 7', 'error: 1062, duplicate entry …'],
    ['\n  first line\nat second line 2', 'first line'],
    ['', ''],
  ] as const)('%s → %s', ([reason, pattern]) => {
    expect(reasonPattern(reason)).toBe(pattern);
    expect(reasonPattern(pattern)).toBe(pattern);
  });

  test('a reason of any length is looked at for no longer than its beginning', () => {
    const endless = `no user ${"'a".repeat(500_000)}`;
    expect(reasonPattern(endless)).toBe(reasonPattern(endless.slice(0, 300)));
    expect(reasonPattern(`${'x'.repeat(400)} 1`)).toBe('x'.repeat(300));
    expect(reasonPattern(`${'x'.repeat(299)}😀`)).toBe('x'.repeat(299));
  });
});
