/** An answer that takes longer does not come. */
const WAIT_MS = 20_000;

/** There is nothing at this address any more. */
export class Gone extends Error {}

/** The host wants the reader to sign in again, and says so with an answer of its own. */
export class SignedOut extends Error {}

/** @throws Gone, SignedOut, or what else went wrong. */
export async function fetchPage(url: string): Promise<string> {
  return (await ask(url, 'text/html')).text();
}

/** @throws Gone, SignedOut, or what else went wrong. */
export async function fetchJson<T>(url: string): Promise<T> {
  return (await ask(url, 'application/json')).json();
}

async function ask(url: string, accept: string): Promise<Response> {
  const response = await fetch(url, {
    headers: { Accept: accept },
    cache: 'no-store',
    credentials: 'same-origin',
    signal: AbortSignal.timeout(WAIT_MS),
  });
  const type = response.headers.get('content-type') ?? '';
  if (response.status === 404) {
    throw new Gone();
  }
  if ([401, 403].includes(response.status) || (response.ok && !type.startsWith(accept))) {
    throw new SignedOut();
  }
  if (!response.ok) {
    throw new Error(String(response.status));
  }
  return response;
}
