/**
 * Why a request that changes something is refused, or undefined. A browser says where a request comes from, and no page can
 * make it lie: `Sec-Fetch-Site`, and where that is missing (plain HTTP, old browsers) `Origin`. A proxy in front that ends TLS
 * changes the scheme, so hosts are compared.
 */
export function foreignness(request: Request): string | undefined {
  const site = request.headers.get('sec-fetch-site');
  if (site !== null) {
    return site === 'same-origin'
      ? undefined
      : 'This request comes from another site, and was refused. Open the page of the batch itself, and try again there.';
  }
  const origin = request.headers.get('origin');
  const own = request.headers.get('host') ?? new URL(request.url).host;
  if (origin === null) {
    return (
      'This request does not say where it comes from, and was refused. Browsers do so by themselves; a program sends ' +
      `the header "Origin", e.g. "Origin: http://${own}".`
    );
  }
  if (hostOf(origin) !== own.toLowerCase()) {
    return (
      `This request comes from another site (Origin: ${origin}, Host: ${own}), and was refused. If it came from this ` +
      'very page, a proxy in front changes the Host: let it pass the one on that the browser has sent.'
    );
  }
  return undefined;
}

function hostOf(origin: string): string | undefined {
  try {
    return new URL(origin).host;
  } catch {
    return undefined;
  }
}
