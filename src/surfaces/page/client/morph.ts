/**
 * Makes an element like another one and keeps what the reader did with it: focus, selection, opened details, and what
 * was typed. Elements are recognized by `data-key` or id; others by their place.
 */
export function morph(from: Element, to: Element): void {
  morphAttributes(from, to);
  // What was fetched into an element after the page had come is not in any later page.
  if (!from.hasAttribute(FILLED)) {
    morphChildren(from, to);
  }
}

/** Marks an element whose content was fetched by a script. */
export const FILLED = 'data-filled';

/** Belong to the reader, or are made by a script of the page. */
const KEPT = ['open', 'title', FILLED];

function morphAttributes(from: Element, to: Element): void {
  for (const { name, value } of to.attributes) {
    if (!KEPT.includes(name) && from.getAttribute(name) !== value) {
      from.setAttribute(name, value);
    }
  }
  for (const { name } of [...from.attributes]) {
    if (!KEPT.includes(name) && !to.hasAttribute(name)) {
      from.removeAttribute(name);
    }
  }
}

function morphChildren(from: Element, to: Element): void {
  const keyed = new Map<string | null, ChildNode>([...from.childNodes].map((child) => [keyOf(child), child]));
  let cursor: ChildNode | null = from.firstChild;
  for (const next of [...to.childNodes]) {
    const key = keyOf(next);
    const known: ChildNode | null | undefined = key === null ? cursor : keyed.get(key);
    if (!known || !isSame(known, next)) {
      from.insertBefore(document.importNode(next, true), cursor);
      continue;
    }
    if (known === cursor) {
      cursor = cursor.nextSibling;
    } else {
      from.insertBefore(known, cursor);
    }
    morphNode(known, next);
  }
  while (cursor !== null) {
    const rest: ChildNode | null = cursor.nextSibling;
    cursor.remove();
    cursor = rest;
  }
}

function morphNode(from: ChildNode, to: ChildNode): void {
  if (from instanceof Element && isElement(to)) {
    morph(from, to);
  } else if (from.nodeValue !== to.nodeValue) {
    from.nodeValue = to.nodeValue;
  }
}

function isSame(a: ChildNode, b: ChildNode): boolean {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
}

function keyOf(node: ChildNode): string | null {
  return isElement(node) ? node.getAttribute('data-key') || node.id || null : null;
}

/** An element of another document is no instance of this one's Element. */
const isElement = (node: ChildNode): node is Element & ChildNode => node.nodeType === Node.ELEMENT_NODE;
