import { CLIENT_SCRIPT, STYLE } from './assets.js';
import { Html, type HtmlValue, html } from './html.js';
import type { Paths } from './paths.js';

/** What all pages of one request have in common. */
export interface Frame {
  readonly paths: Paths;
  readonly siteTitle: string;
  readonly nonce: string;
}

export interface Page {
  readonly title: string;
  readonly content: HtmlValue;
  /** Where the script gets the page again every few seconds, and a batch's status more often. */
  readonly live?: { readonly page: string; readonly status?: string };
}

const ICON = `data:image/svg+xml,${encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#2456c8"/>' +
    '<path d="M4 5h8M4 8h8M4 11h5" stroke="#fff" stroke-width="1.8" stroke-linecap="round"/></svg>',
)}`;

export function layout({ paths, siteTitle, nonce }: Frame, { title, content, live }: Page): Html {
  const liveAttributes = html`data-live="${live?.page ?? ''}" data-status="${live?.status ?? ''}"`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>${title === siteTitle ? title : `${title} · ${siteTitle}`}</title>
<link rel="icon" href="${ICON}">
<style nonce="${nonce}">${new Html(STYLE)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header class="site"><a href="${paths.list()}">${siteTitle}</a></header>
<p class="stale" id="stale" role="alert" hidden></p>
<p class="unseen" id="said" role="status"></p>
<main id="main" tabindex="-1" ${liveAttributes}>
${content}
</main>
<script nonce="${nonce}">${new Html(CLIENT_SCRIPT)}</script>
</body>
</html>
`;
}
