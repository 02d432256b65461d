/**
 * Why a request that changes something is refused, or undefined. A browser says where a request comes from, and no page
 * can make it lie: `Sec-Fetch-Site`, and where that is missing (plain HTTP, old browsers) `Origin`. A proxy in front
 * that ends TLS changes the scheme, so hosts are compared.
 */
export function foreignness(request: Request): string | undefined {
  const site = request.headers.get('sec-fetch-site');
  if (site !== null) {
    return site === 'same-origin'
      ? undefined
      : 'This request comes from another site, and was refused. Open the page of the batch itself, and try again ' +
          'there.';
  }
  const origin = request.headers.get('origin');
  const own = hostAskedFor(request);
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

/** The host, with its port, that the browser has in its address bar, unless a proxy in front changes it. */
export function hostAskedFor(request: Request): string {
  return request.headers.get('host') ?? new URL(request.url).host;
}

/** A page comes by http or https; what else calls itself an origin is no page of ours. */
function hostOf(origin: string): string | undefined {
  try {
    const { protocol, host } = new URL(origin);
    return /^https?:$/.test(protocol) ? host : undefined;
  } catch {
    return undefined;
  }
}
