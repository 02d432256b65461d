import { expect } from 'vitest';

/** How many lives are played at the same time: much of their time is waiting for locks to run out. */
const AT_ONCE = 6;

/**
 * Plays lives in which a process is killed before its n-th script, for these n in turn, until a process lives on. Each
 * life answers with how its process ended.
 */
export async function crashSeries(
  places: readonly number[],
  leastKilled: number,
  live: (n: number) => Promise<number | string>,
): Promise<void> {
  const ends: (number | string)[] = [];
  for (let i = 0; i < places.length && !ends.includes(0); i += AT_ONCE) {
    ends.push(...(await Promise.all(places.slice(i, i + AT_ONCE).map(live))));
  }
  expect(ends.filter((end) => end === 'SIGKILL').length).toBeGreaterThanOrEqual(leastKilled);
  expect(ends, 'the series reaches one that lives').toContain(0);
}
