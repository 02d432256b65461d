import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { pages } from './pages.js';
import { test as base } from './test.js';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The browser to drive: the one that CHROMIUM_BIN names, or the distribution's. */
export const chromiumPath = process.env.CHROMIUM_BIN ?? PLACES.find((path) => existsSync(path));

if (chromiumPath === undefined) {
  const how = 'Install it (Debian: apt-get install chromium), or set CHROMIUM_BIN.';
  if (process.env.CI) {
    throw new Error(`There is no Chromium for the browser tests. ${how}`);
  }
  console.warn(`The browser tests are skipped: there is no Chromium. ${how}`);
}

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const root = new URL('../../', import.meta.url);

/**
 * Where a picture goes: into `reports`, which git ignores; with UPDATE_PICTURES=1, those that the documentation shows
 * replace its own.
 */
function pictureNamed(name: string): string {
  const isWanted = process.env.UPDATE_PICTURES === '1' && pages().some(({ text }) => text.includes(`${name}.png)`));
  return fileURLToPath(new URL(isWanted ? `docs/${name}.png` : `reports/screenshots/${name}.png`, root));
}

export interface Browser {
  readonly context: BrowserContext;
  readonly page: Page;
  /** What was asked of other hosts than the test's own, and not answered: there is no internet here. */
  readonly elsewhere: readonly string[];
  /** What the page's scripts reported to the console as errors. */
  readonly errors: readonly string[];
  picture(name: string): Promise<void>;
}

/** A browser with a profile of its own and without the internet. */
export const test = base.extend<{ browser: Browser }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest wants a pattern
  browser: async ({}, use) => {
    const profile = await mkdtemp(join(tmpdir(), 'bullmq-batches-browser-'));
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: chromiumPath ?? '',
      args: FLAGS,
      viewport: { width: 1280, height: 860 },
      colorScheme: 'light',
      locale: 'en-GB',
      timezoneId: 'UTC',
    });
    const elsewhere: string[] = [];
    const errors: string[] = [];
    await context.route(
      ({ hostname }) => hostname !== 'localhost',
      async (route) => {
        elsewhere.push(route.request().url());
        await route.abort();
      },
    );
    const page = await context.newPage();
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error' && !message.location().url.startsWith('https://')) {
        errors.push(message.text());
      }
    });
    await use({
      context,
      page,
      elsewhere,
      errors,
      picture: async (name) => void (await page.screenshot({ path: pictureNamed(name), animations: 'disabled' })),
    });
    await context.close();
    await rm(profile, { recursive: true, force: true });
  },
});
