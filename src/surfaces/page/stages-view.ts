import type { BatchStatus, StageStatus } from '../../index.js';
import { type Html, html } from './html.js';
import { own, stateSign } from './parts.js';
import type { Paths } from './paths.js';
import { number } from './text.js';

const WIDTH = 170;
const HEIGHT = 52;
const GAP = { x: 26, y: 40 };

/** More boxes than this are no drawing any more; the child batches below are all there. */
const MOST_DRAWN = 60;

interface Box {
  readonly stage: StageStatus;
  readonly x: number;
  readonly y: number;
}

/** The stages of a run: a drawing of what comes after what, with the states as they are now. */
export function stagesView(paths: Paths, { stages }: BatchStatus): Html | false {
  if (stages === undefined) {
    return false;
  }
  const content =
    stages.length > MOST_DRAWN
      ? html`<p class="meaning">${number(stages.length)} stages are too many to be drawn: they are among the child batches below.</p>`
      : drawing(paths, stages);
  return html`<section aria-labelledby="h-stages" class="card"><h2 id="h-stages">Stages</h2>${content}</section>`;
}

function drawing(paths: Paths, stages: readonly StageStatus[]): Html {
  const boxes = layOut(stages);
  const width = Math.max(...boxes.map(({ x }) => x)) + WIDTH;
  const height = Math.max(...boxes.map(({ y }) => y)) + HEIGHT;
  const byName = new Map(boxes.map((box) => [box.stage.name, box]));
  const lines = boxes.flatMap((box) =>
    box.stage.after.flatMap((name) => {
      const from = byName.get(name);
      return from === undefined ? [] : line(from, box);
    }),
  );
  return html`<div class="stages"><svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="group" aria-labelledby="h-stages">${lines}
${boxes.map((box) => node(paths, box))}</svg></div>`;
}

/** Each stage in a row below all that it comes after. */
function layOut(stages: readonly StageStatus[]): Box[] {
  const byName = new Map(stages.map((stage) => [stage.name, stage]));
  const rows = new Map<string, number>();
  const rowOf = ({ name, after }: StageStatus): number => {
    const known = rows.get(name);
    if (known !== undefined) {
      return known;
    }
    const before = after.flatMap((one) => byName.get(one) ?? []);
    const row = before.length === 0 ? 0 : 1 + Math.max(...before.map(rowOf));
    rows.set(name, row);
    return row;
  };
  const columns = new Map<number, number>();
  return stages.map((stage) => {
    const row = rowOf(stage);
    const column = columns.get(row) ?? 0;
    columns.set(row, column + 1);
    return { stage, x: column * (WIDTH + GAP.x), y: row * (HEIGHT + GAP.y) };
  });
}

function line(from: Box, to: Box): Html {
  const [x1, y1, x2, y2] = [from.x + WIDTH / 2, from.y + HEIGHT, to.x + WIDTH / 2, to.y];
  const bend = (y1 + y2) / 2;
  const when = to.stage.when === 'success' ? '' : ` ${to.stage.when}`;
  return html`<path class="edge${when}" d="M${x1} ${y1} C${x1} ${bend} ${x2} ${bend} ${x2} ${y2}"></path>`;
}

/** HTML inside of the drawing: the policy of the page allows no style of one element. */
function node(paths: Paths, { stage, x, y }: Box): Html {
  const { id, name, state, total, pending, after, when } = stage;
  const told = after.length === 0 ? '' : `after ${after.join(', ')}${when === 'success' ? '' : `, on ${when}`}`;
  return html`<foreignObject data-key="${id}" x="${x}" y="${y}" width="${WIDTH}" height="${HEIGHT}"><div class="stage ${state}">
<a href="${paths.batch(id)}">${own(name)}</a><span class="unseen"> ${told}</span>
<small>${stateSign(state)}${total > 0 && html` · ${number(total - pending)} of ${number(total)}`}</small></div></foreignObject>`;
}
