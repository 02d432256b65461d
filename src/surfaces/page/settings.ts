import { BatchOptionsError } from '../../index.js';
import { AllowedHosts } from './allowed-hosts.js';

/** Options of `batchPage()`; all are optional. */
export interface BatchPageOptions {
  /**
   * The path where the page is mounted, as the browser sees it. Default: where Express has mounted it, '/batches'
   * elsewhere.
   */
  readonly basePath?: string | undefined;
  /** What the page is called, in its head and in the browser's tab; default 'Batches'. */
  readonly title?: string | undefined;
  /**
   * Whether batches may be retried, cancelled and sealed; default false: the page only shows. A function decides for
   * each request, which has its cookies and headers. `true` allows every request for one of `allowedHosts`.
   */
  readonly allowActions?: boolean | ((request: Request) => boolean | Promise<boolean>) | undefined;
  /**
   * With `allowActions: true`, the hosts under which the page changes batches, beside localhost, 127.0.0.1 and [::1],
   * e.g. `['admin.example.com']`; a host without a port is allowed with any port. This keeps out foreign sites whose
   * name was made to point to the page's address (DNS rebinding). Default: none.
   */
  readonly allowedHosts?: readonly string[] | undefined;
}

/** The options of a page, checked and with their defaults. */
export interface Settings {
  readonly basePath: string;
  readonly title: string;
  readonly allowActions: Exclude<BatchPageOptions['allowActions'], undefined>;
  readonly allowedHosts: AllowedHosts;
}

export function checkOptions(options: BatchPageOptions): Settings {
  const { basePath = '/batches', title = 'Batches', allowActions = false, allowedHosts, ...unknown } = options;
  const [name] = Object.keys(unknown);
  if (name !== undefined) {
    throw new BatchOptionsError(
      `batchPage() has no option '${name}'. Known are: basePath, title, allowActions, allowedHosts.`,
    );
  }
  if (typeof basePath !== 'string' || !/^(\/(?!\/)[^?#\s\\]*)?$/.test(basePath)) {
    throw new BatchOptionsError(
      `batchPage(): basePath must be a path that begins with '/', e.g. '/batches', not ${JSON.stringify(basePath)}.`,
    );
  }
  if (typeof title !== 'string' || title.trim() === '') {
    throw new BatchOptionsError(`batchPage(): title must be a non-empty string, not ${JSON.stringify(title)}.`);
  }
  if (typeof allowActions !== 'boolean' && typeof allowActions !== 'function') {
    throw new BatchOptionsError(
      'batchPage(): allowActions must be true, false, or a function of the request, not ' +
        `${JSON.stringify(allowActions)}.`,
    );
  }
  if (allowedHosts !== undefined && typeof allowActions === 'function') {
    throw new BatchOptionsError(
      'batchPage(): allowedHosts is for allowActions: true. A function decides by itself: let it look at the Host.',
    );
  }
  return {
    // As browsers write it, so that it can be compared with the paths of requests.
    basePath: new URL(basePath || '/', 'http://localhost').pathname.replace(/\/+$/, ''),
    title,
    allowActions,
    allowedHosts: new AllowedHosts(allowedHosts),
  };
}
