import type { StageStatus } from '../../index.js';

/*
 * Where the boxes of a drawing of stages are: each in a row below all that it comes after. A stage that is a workflow
 * is a box around those inside of it.
 */

const WIDTH = 170;
const HEIGHT = 52;
const GAP = { x: 26, y: 40 };
const PADDING = 14;

interface Size {
  readonly width: number;
  readonly height: number;
}

/** A box: its place in the drawing, and the boxes inside of it. */
export interface Placed extends Size {
  readonly stage: StageStatus;
  readonly x: number;
  readonly y: number;
  readonly inside: readonly Placed[];
}

/**
 * The stages that are drawn with those inside of them: level by level, so that the limit leaves out the innermost.
 */
export function openedOf(stages: readonly StageStatus[], most: number): ReadonlySet<StageStatus> {
  const opened = new Set<StageStatus>();
  let count = stages.length;
  for (let level = stages; level.length > 0; ) {
    const fitting = level.filter(({ stages: inside = [] }) => {
      const fits = inside.length > 0 && count + inside.length <= most;
      count += fits ? inside.length : 0;
      return fits;
    });
    for (const stage of fitting) {
      opened.add(stage);
    }
    level = fitting.flatMap(({ stages: inside = [] }) => inside);
  }
  return opened;
}

export function layOut(stages: readonly StageStatus[], opened: ReadonlySet<StageStatus>): readonly Placed[] {
  const rowOf = rows(stages);
  const boxes = stages.map((stage) => boxOf(stage, opened));
  const placed: Placed[] = [];
  const lastRow = Math.max(...rowOf.values());
  for (let row = 0, y = 0; row <= lastRow; row++) {
    let x = 0;
    const inRow = boxes.filter(({ stage }) => rowOf.get(stage.name) === row);
    for (const box of inRow) {
      placed.push(moved(box, x, y));
      x += box.width + GAP.x;
    }
    y += Math.max(0, ...inRow.map(({ height }) => height)) + GAP.y;
  }
  const order = new Map(stages.map((stage, i) => [stage, i]));
  return placed.sort((a, b) => (order.get(a.stage) ?? 0) - (order.get(b.stage) ?? 0));
}

export function sizeOf(boxes: readonly Placed[]): Size {
  return {
    width: Math.max(0, ...boxes.map(({ x, width }) => x + width)),
    height: Math.max(0, ...boxes.map(({ y, height }) => y + height)),
  };
}

function boxOf(stage: StageStatus, opened: ReadonlySet<StageStatus>): Placed {
  if (!opened.has(stage)) {
    return { stage, x: 0, y: 0, width: WIDTH, height: HEIGHT, inside: [] };
  }
  const inside = layOut(stage.stages ?? [], opened).map((box) => moved(box, PADDING, HEIGHT));
  const { width, height } = sizeOf(inside);
  return { stage, x: 0, y: 0, width: width + PADDING, height: height + PADDING, inside };
}

function moved(box: Placed, x: number, y: number): Placed {
  return { ...box, x: box.x + x, y: box.y + y, inside: box.inside.map((one) => moved(one, x, y)) };
}

/** The row of each stage: below all that it comes after. */
function rows(stages: readonly StageStatus[]): ReadonlyMap<string, number> {
  const byName = new Map(stages.map((stage) => [stage.name, stage]));
  const known = new Map<string, number>();
  const rowOf = ({ name, after }: StageStatus): number => {
    const before = known.has(name) ? [] : after.flatMap((one) => byName.get(one) ?? []);
    const row = known.get(name) ?? (before.length === 0 ? 0 : 1 + Math.max(...before.map(rowOf)));
    known.set(name, row);
    return row;
  };
  stages.forEach(rowOf);
  return known;
}
