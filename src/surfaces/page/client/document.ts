import type { Html } from '../html.js';
import { ago } from '../text.js';
import { morph } from './morph.js';

/** The parts of the page that its layout always has. */
export const main = part('main');
const said = part('said');
const stale = part('stale');

function part(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) {
    throw new Error(`The page has no element '${id}'.`);
  }
  return element;
}

/** Reads a page that was fetched. Its style sheet has the nonce of another answer, which browsers complain about. */
export function parsed(page: string): Document {
  return new DOMParser().parseFromString(page.replace(/<style.*?<\/style>/s, ''), 'text/html');
}

/** Makes what there is of the page like `next`. An element that has the focus and goes hands it to its successor. */
export function replaceMain(next: Element): void {
  const focused = document.activeElement;
  const href = focused?.getAttribute('href');
  morph(main, next);
  if (focused === null || focused === document.activeElement || focused === document.body) {
    return;
  }
  const sameLink = [...main.querySelectorAll('a')].find((link) => href && link.getAttribute('href') === href);
  const again = main.contains(focused) ? (focused as HTMLElement) : sameLink;
  (again ?? main).focus({ preventScroll: true });
}

/** Makes an element like what a view has rendered. */
export function render(element: Element, { text }: Html): void {
  const next = new DOMParser().parseFromString(text, 'text/html').body.firstElementChild;
  if (next !== null) {
    morph(element, next);
  }
}

/** Times in words grow old, and their tooltips are in the reader's own time zone. */
export function localizeTimes(): void {
  for (const element of document.querySelectorAll('time')) {
    const when = new Date(element.dateTime);
    element.title = when.toLocaleString();
    put(element, ago(when.getTime()));
  }
}

/** A sentence above the page about the page itself; '' for none. */
export function warn(sentence: string): void {
  put(stale, sentence);
  stale.hidden = sentence === '';
}

/** A sentence for those who hear the page. */
export function sayAloud(sentence: string): void {
  put(said, sentence);
}

function put(element: Element, text: string): void {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}
