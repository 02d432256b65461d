import type { BatchStatus, StageStatus } from '../../index.js';
import { type Html, html } from './html.js';
import { own, stateSign } from './parts.js';
import type { Paths } from './paths.js';
import { layOut, openedOf, type Placed, sizeOf } from './stages-layout.js';
import { number } from './text.js';

/** More boxes than this are no drawing any more; the child batches below are all there. */
const MOST_DRAWN = 60;

/** The stages of a run: a drawing of what comes after what, with the states as they are now. */
export function stagesView(paths: Paths, { stages }: BatchStatus): Html | false {
  if (stages === undefined) {
    return false;
  }
  const content =
    stages.length > MOST_DRAWN
      ? html`<p class="meaning">${number(stages.length)} stages are too many to be drawn: they are among the child
batches below.</p>`
      : drawing(paths, stages);
  return html`<section aria-labelledby="h-stages" class="card"><h2 id="h-stages">Stages</h2>${content}</section>`;
}

function drawing(paths: Paths, stages: readonly StageStatus[]): Html {
  const boxes = layOut(stages, openedOf(stages, MOST_DRAWN));
  const { width, height } = sizeOf(boxes);
  return html`<div class="stages"><svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"
role="group" aria-labelledby="h-stages">${level(paths, boxes)}</svg></div>`;
}

/** The lines first, so that the boxes, and what is inside of them, cover what passes behind. */
function level(paths: Paths, boxes: readonly Placed[]): Html {
  const byName = new Map(boxes.map((box) => [box.stage.name, box]));
  const lines = boxes.flatMap((box) =>
    box.stage.after.flatMap((name) => {
      const from = byName.get(name);
      return from === undefined ? [] : line(from, box);
    }),
  );
  return html`${lines}
${boxes.map((box) => node(paths, box))}`;
}

function line(from: Placed, to: Placed): Html {
  const [x1, y1, x2, y2] = [from.x + from.width / 2, from.y + from.height, to.x + to.width / 2, to.y];
  const bend = (y1 + y2) / 2;
  const when = to.stage.when === 'success' ? '' : ` ${to.stage.when}`;
  return html`<path class="edge${when}" d="M${x1} ${y1} C${x1} ${bend} ${x2} ${bend} ${x2} ${y2}"></path>`;
}

/** HTML inside of the drawing: the policy of the page allows no style of one element. */
function node(paths: Paths, { stage, x, y, width, height, inside }: Placed): Html {
  const { id, name, state, total, pending, after, when } = stage;
  const told = after.length === 0 ? '' : `after ${after.join(', ')}${when === 'success' ? '' : `, on ${when}`}`;
  const kind = inside.length === 0 ? '' : ' group';
  return html`<foreignObject data-key="${id}" x="${x}" y="${y}" width="${width}" height="${height}"><div class="stage ${state}${kind}">
<a href="${paths.batch(id)}">${own(name)}</a><span class="unseen"> ${told}</span>
<small>${stateSign(state)}${total > 0 && html` · ${number(total - pending)} of ${number(total)}`}</small></div></foreignObject>${
    inside.length > 0 && level(paths, inside)
  }`;
}
