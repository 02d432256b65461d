import { appendFileSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

declare module 'vitest' {
  export interface ProvidedContext {
    positionsFile: string;
  }
}

/** Where the tests of one run note how many positions they have played. */
export function positionsFile(): string {
  return join(tmpdir(), `bullmq-batches-positions-${process.pid}`);
}

/** Notes positions that held. */
export function notePositions(file: string, count: number): void {
  appendFileSync(file, `${process.env.BULLMQ} ${count}\n`);
}

/** Prints, after a run, how many positions were played in it, if any. */
export function printPositions(file: string): void {
  if (!existsSync(file)) {
    return;
  }
  const totals = new Map<string, { positions: number; pairs: number }>();
  for (const line of readFileSync(file, 'utf8').trim().split('\n')) {
    const [major = '', count] = line.split(' ');
    const { positions, pairs } = totals.get(major) ?? { positions: 0, pairs: 0 };
    totals.set(major, { positions: positions + Number(count), pairs: pairs + 1 });
  }
  rmSync(file);
  const parts = [...totals].map(
    ([major, { positions, pairs }]) => `${major}: ${positions} positions of ${pairs} pairs`,
  );
  console.info(`Held interleavings: ${parts.join('; ')}`);
}
