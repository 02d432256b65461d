import type { Html } from './html.js';

/** What the page answers, before it becomes a Response. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * Nothing is loaded from anywhere, and only what carries this answer's nonce is run: what a job's data says is never
 * code.
 */
const contentSecurityPolicy = (nonce: string) =>
  [
    `default-src 'none'`,
    `style-src 'nonce-${nonce}'`,
    `script-src 'nonce-${nonce}'`,
    `connect-src 'self'`,
    'img-src data:',
    `form-action 'self'`,
    `base-uri 'none'`,
    `frame-ancestors 'self'`,
  ].join('; ');

const GUARDS = {
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'same-origin',
  'Cache-Control': 'no-store',
};

export function newNonce(): string {
  return crypto.randomUUID().replaceAll('-', '');
}

export function htmlAnswer(status: number, page: Html, nonce: string): Answer {
  return {
    status,
    headers: {
      ...GUARDS,
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Security-Policy': contentSecurityPolicy(nonce),
    },
    body: page.text,
  };
}

export function jsonAnswer(status: number, value: unknown): Answer {
  return {
    status,
    headers: {
      ...GUARDS,
      'Content-Type': 'application/json; charset=utf-8',
      'Content-Security-Policy': `default-src 'none'; frame-ancestors 'none'`,
    },
    body: `${JSON.stringify(value)}\n`,
  };
}

export function seeOther(location: string): Answer {
  return { status: 303, headers: { ...GUARDS, Location: location }, body: '' };
}

export function responseOf({ status, headers, body }: Answer, isHead: boolean): Response {
  return new Response(isHead || body === '' ? null : body, { status, headers });
}
