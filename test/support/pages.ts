import { readdirSync, readFileSync } from 'node:fs';

const root = new URL('../../', import.meta.url);

/** A page of Markdown, by its path in the repository. */
export interface Page {
  readonly path: string;
  readonly text: string;
}

export function readPage(path: string): string {
  return readFileSync(new URL(path, root), 'utf8');
}

/** The pages that users read: README.md and the guides, without the generated reference. */
export function pages(): Page[] {
  const guides = readdirSync(new URL('docs/', root)).filter((name) => name.endsWith('.md'));
  return ['README.md', ...guides.map((name) => `docs/${name}`)].map((path) => ({ path, text: readPage(path) }));
}
