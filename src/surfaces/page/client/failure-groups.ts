import { main, parsed } from './document.js';
import { fetchPage } from './fetching.js';
import { FILLED } from './morph.js';

/**
 * A group of failures fetches its rows when it is opened, from the page that its link leads to. Without a script, or
 * without an answer, the link itself is there.
 */
export function fillOpenedGroups(): void {
  // The event does not bubble.
  main.addEventListener('toggle', ({ target }) => void fill(target as Element), { capture: true });
}

async function fill(details: Element): Promise<void> {
  const rows = details.querySelector<HTMLElement>('[data-rows]');
  if (rows === null || !details.hasAttribute('open') || rows.hasAttribute(FILLED)) {
    return;
  }
  rows.setAttribute(FILLED, '');
  try {
    const page = parsed(await fetchPage(rows.dataset.rows ?? ''));
    const found = [...page.querySelectorAll('.failures, .pager')];
    if (found.length > 0) {
      rows.replaceChildren(...found.map((element) => document.importNode(element, true)));
    }
  } catch {
    rows.removeAttribute(FILLED);
  }
}
