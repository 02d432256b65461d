import { existsSync, statSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import packageJson from '../package.json' with { type: 'json' };
import { type Page, pages, readPage } from './support/pages.js';

/* What can be checked of the documentation without running it; its examples are run by readme.test.ts. */

const root = fileURLToPath(new URL('../', import.meta.url));
const CONTRIBUTORS = ['CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'test/conformance/README.md'];
const all: Page[] = [...pages(), ...CONTRIBUTORS.map((path) => ({ path, text: readPage(path) }))];

interface Link {
  readonly from: string;
  /** The path of the page or file in the repository. */
  readonly to: string;
  readonly anchor: string | undefined;
}

const withoutCode = (text: string) => text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');

/** The links of a page that lead into the repository. */
function linksOf({ path, text }: Page): Link[] {
  return [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [file = '', anchor] = target.split('#');
      return { from: path, to: file === '' ? path : normalize(join(dirname(path), file)), anchor };
    });
}

/** The files and folders of the source that a page names as code. */
function namedIn({ text }: Page): string[] {
  return [...text.matchAll(/`((?:src|test|bench|examples|\.ci)\/[\w./-]*)`/g)].map(([, path = '']) => path);
}

/** The anchors that GitHub makes of a page's headings. */
function anchorsOf(text: string): string[] {
  return [...text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

test('every link leads to a file of the repository, and every anchor to a heading', () => {
  const broken = all.flatMap(linksOf).filter(({ to, anchor }) => {
    if (!existsSync(join(root, to))) {
      return true;
    }
    return anchor !== undefined && !anchorsOf(readPage(to)).includes(anchor);
  });
  expect(broken).toEqual([]);
});

test('every page is reached from README, and every guide from the index', () => {
  const reached = new Set(['README.md']);
  for (const path of reached) {
    const page = all.find((one) => one.path === path);
    for (const to of page === undefined ? [] : [...linksOf(page).map((link) => link.to), ...namedIn(page)]) {
      reached.add(to);
    }
  }
  expect(all.map(({ path }) => path).filter((path) => !reached.has(path))).toEqual([]);

  const listed = linksOf({ path: 'docs/README.md', text: readPage('docs/README.md') }).map(({ to }) => to);
  expect(pages().filter(({ path }) => ![...listed, 'docs/README.md'].includes(path))).toEqual([]);
});

test('what a published page links to is published too', () => {
  const isPublished = (path: string) =>
    ['README.md', 'package.json', 'LICENSE'].includes(path) ||
    packageJson.files.some((entry) =>
      entry.includes('*')
        ? new RegExp(`^${entry.replaceAll('.', '\\.').replaceAll('*', '[^/]*')}$`).test(path)
        : path === entry || !relative(entry, path).startsWith('..'),
    );
  const published = all.filter(({ path }) => isPublished(path));
  expect(published.map(({ path }) => path)).toContain('docs/README.md');
  expect(published.flatMap(linksOf).filter(({ to }) => !isPublished(to))).toEqual([]);
});

test('the files of the source that a page names exist', () => {
  const named = all.flatMap((page) => namedIn(page).map((file) => ({ path: page.path, file })));
  expect(named.length).toBeGreaterThan(0);
  const missing = named.filter(({ file }) => {
    const found = existsSync(join(root, file));
    return !found || statSync(join(root, file)).isDirectory() !== file.endsWith('/');
  });
  expect(missing).toEqual([]);
});

test('README has at most 200 lines, and no line of the documentation more than 120 characters', () => {
  expect(readPage('README.md').split('\n').length).toBeLessThanOrEqual(200);
  const tooLong = all.flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, i) => (line.length > 120 ? [`${path}:${i + 1}`] : [])),
  );
  expect(tooLong).toEqual([]);
});
