import {
  type Batch,
  BatchError,
  type BatchExplanation,
  type BatchFailure,
  BatchNotFoundError,
  BatchOptionsError,
  type BatchStatus,
  type BatchTree,
  type ListedState,
  type QueueLike,
  withBatches,
} from '../../index.js';
import { ACTIONS, isOffered, refusal } from './actions.js';
import { AllowedHosts } from './allowed-hosts.js';
import { type Answer, htmlAnswer, jsonAnswer, newNonce, responseOf, seeOther } from './answer.js';
import { batchPage as batchView, FAILURES_SHOWN } from './batch-view.js';
import { failuresPage, type Names } from './failures-view.js';
import { BadBody, formOf } from './form.js';
import { type Frame, layout, type Page } from './layout.js';
import { type Batches, ifThere, readOverview, readState, STATES, search } from './list.js';
import { listPage } from './list-view.js';
import { confirmPage, messagePage } from './message-view.js';
import { isBelow, type Mount, type NodeHandler, nodeHandler } from './node-handler.js';
import { isUnfinished, titleOf } from './parts.js';
import { type ActionName, Paths, type Route, routeOf } from './paths.js';
import { inTime, NoAnswer, Readings } from './readings.js';
import { foreignness, hostAskedFor } from './same-origin.js';

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
   * Whether batches may be retried, cancelled and sealed; default false: the page only shows. A function is asked for
   * each request, with its cookies and headers; with `true`, all may who ask for the page under one of `allowedHosts`.
   */
  readonly allowActions?: boolean | ((request: Request) => boolean | Promise<boolean>) | undefined;
  /**
   * With `allowActions: true`, the hosts under which a browser may ask for the page to change batches, beside
   * localhost, 127.0.0.1 and [::1], e.g. `['admin.example.com']`; one without a port is allowed with any. It keeps a
   * foreign site from acting whose name was made to point here (DNS rebinding). Default: none.
   */
  readonly allowedHosts?: readonly string[] | undefined;
}

/** A page of batches, ready to be mounted. */
export interface BatchPage {
  /**
   * Answers a request with its whole path, for Hono, Bun, Deno, Next.js and all that speak `Request` and `Response`.
   */
  fetch(request: Request): Promise<Response>;
  /**
   * Answers requests of node:http, of Express (`app.use('/batches', page.handler)`), and Fastify's raw request and
   * reply.
   */
  readonly handler: NodeHandler;
}

/**
 * Makes a web page that shows the batches of a queue's Redis and prefix: list and search, progress, nested batches,
 * failures, what holds a batch; and, if it is allowed, retries, cancels and seals them. Rendered on the server, without
 * assets of others. Whoever reaches it sees the data of failed jobs: mount it where your Bull Board is, behind your
 * login.
 *
 * @param queue any queue of that Redis and prefix; it is wrapped with `withBatches` if it is not.
 * @throws BatchOptionsError for bad options, and for what `withBatches` refuses.
 *
 * @example
 * app.use('/batches', batchPage(users, { allowActions: true }).handler);   // Express
 */
export function batchPage(queue: QueueLike, options: BatchPageOptions = {}): BatchPage {
  const settings = checkOptions(options);
  const { basePath } = settings;
  const site = new Site(withBatches(queue), settings);
  return {
    async fetch(request) {
      const { pathname } = new URL(request.url);
      return site.respond(request, isBelow(pathname, basePath) ? { path: basePath, seenAs: basePath } : undefined);
    },
    handler: nodeHandler({ path: basePath, isGiven: options.basePath !== undefined }, (request, mount) =>
      site.respond(request, mount),
    ),
  };
}

interface Settings {
  readonly basePath: string;
  readonly title: string;
  readonly allowActions: Exclude<BatchPageOptions['allowActions'], undefined>;
  readonly allowedHosts: AllowedHosts;
}

function checkOptions(options: BatchPageOptions): Settings {
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

/** A page that stays empty says nothing: after so many milliseconds it says that Redis does not answer. */
const ANSWER_MS = 5000;
/** How long a page waits for what takes long to read in a large batch, before it goes without. */
const DETAILS_MS = 2000;
const FAILURES_PER_PAGE = 25;

const NO_ANSWER_HEADING = 'Redis does not answer';
const NO_ANSWER =
  'Redis has not answered within 5 seconds. Its client tries to connect again by itself: reload the page in a moment.';

const RETRY_LATER = { 'Retry-After': '5' };

/** What is answered instead of what was asked for. */
class Refusal extends Error {
  override readonly name = 'Refusal';
  constructor(
    readonly status: number,
    readonly heading: string,
    message: string,
    readonly details: { readonly batchId?: string; readonly headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message);
  }
}

class Site {
  readonly #batches: Batches;
  readonly #settings: Settings;
  readonly #readings = new Readings();

  constructor(batches: Batches, settings: Settings) {
    this.#batches = batches;
    this.#settings = settings;
  }

  async respond(request: Request, mount: Mount | undefined): Promise<Response> {
    const { title, basePath } = this.#settings;
    const url = new URL(request.url);
    const route: Route =
      mount === undefined ? { kind: 'elsewhere', json: false } : routeOf(url.pathname.slice(mount.path.length));
    const paths = new Paths(mount?.seenAs ?? basePath);
    const visit = new Visit(request, url, route, { paths, siteTitle: title, nonce: newNonce() });
    return responseOf(await this.#answer(visit), request.method === 'HEAD');
  }

  async #answer(visit: Visit): Promise<Answer> {
    try {
      checkMethod(visit.request, visit.route);
      return await this.#route(visit);
    } catch (error) {
      return visit.refuse(refusalOf(error));
    }
  }

  #route(visit: Visit): Promise<Answer> {
    const { route, request } = visit;
    if (route.kind === 'action' && request.method === 'POST') {
      return this.#act(visit, route.id, route.action);
    }
    return inTime(this.#show(visit), ANSWER_MS);
  }

  async #show(visit: Visit): Promise<Answer> {
    const { route } = visit;
    switch (route.kind) {
      case 'list':
        return this.#list(visit);
      case 'batch':
        return this.#batch(visit, route);
      case 'failures':
        return this.#failures(visit, await this.#batches.getBatch(route.id));
      case 'tree':
      case 'explain':
        return this.#detailJson(route.kind, await this.#batches.getBatch(route.id));
      case 'action':
        return this.#confirm(visit, route.id, route.action);
      case 'malformed':
        throw new Refusal(400, 'Bad address', 'This address is not percent-encoded as it should be.');
      case 'elsewhere':
        throw new Refusal(404, 'Not found', `This page answers below '${this.#settings.basePath}', its basePath.`);
      case 'unknown':
        throw new Refusal(404, 'Not found', 'There is no page at this address.');
    }
  }

  async #list({ url, route, frame, html }: Visit): Promise<Answer> {
    const state = stateOf(url.searchParams.get('state'));
    const q = (url.searchParams.get('q') ?? '').trim().slice(0, 500);
    const page = pageOf(url.searchParams.get('page'));
    const list = await (q !== ''
      ? search(this.#batches, q, state, page)
      : state === undefined
        ? readOverview(this.#batches)
        : readState(this.#batches, state, page));
    return route.json ? jsonAnswer(200, list) : html(200, listPage(frame.paths, frame.siteTitle, list));
  }

  async #batch(visit: Visit, route: Route & { kind: 'batch' }): Promise<Answer> {
    if (!route.json) {
      return this.#batchHtml(visit, route.id);
    }
    try {
      return jsonAnswer(200, await (await this.#batches.getBatch(route.id)).status());
    } catch (error) {
      if (error instanceof BatchNotFoundError && route.literal !== undefined) {
        return this.#batchHtml(visit, route.literal).catch(() => {
          throw error;
        });
      }
      throw error;
    }
  }

  async #batchHtml(visit: Visit, id: string): Promise<Answer> {
    const batch = await this.#batches.getBatch(id);
    const [status, failures, mayAct] = await Promise.all([
      batch.status(),
      batch.failuresPage({ count: FAILURES_PER_PAGE }),
      this.#mayAct(visit.request),
    ]);
    const [names, tree, explanation] = await Promise.all([
      this.#namesOf(failures.failures.slice(0, FAILURES_SHOWN)),
      ifInTime(this.#tree(batch, status)),
      isToBeExplained(status) ? ifInTime(this.#explanation(batch, status)) : ('finished' as const),
    ]);
    const message = messageOf(visit.url.searchParams);
    const details = { status, tree, explanation, failures, names, mayAct, message };
    return visit.html(200, batchView(visit.frame.paths, details));
  }

  async #failures({ url, route, frame, html }: Visit, batch: Batch): Promise<Answer> {
    const cursor = url.searchParams.get('cursor') ?? undefined;
    const [status, page] = await Promise.all([
      batch.status(),
      batch.failuresPage({ cursor, count: FAILURES_PER_PAGE }),
    ]);
    if (route.json) {
      return jsonAnswer(200, page);
    }
    const names = await this.#namesOf(page.failures);
    return html(200, failuresPage(frame.paths, { status, page, names, isFirst: cursor === undefined }));
  }

  async #namesOf(failures: readonly BatchFailure[]): Promise<Names> {
    const children = failures.filter(({ isBatch }) => isBatch);
    const found = await Promise.all(children.map(({ id }) => ifThere(this.#batches.getBatch(id))));
    return new Map(found.flatMap((batch) => (batch?.description === undefined ? [] : [[batch.id, titleOf(batch)]])));
  }

  async #detailJson(kind: 'tree' | 'explain', batch: Batch): Promise<Answer> {
    const status = await batch.status();
    const reading = kind === 'tree' ? this.#tree(batch, status) : this.#explanation(batch, status);
    return jsonAnswer(200, await reading);
  }

  async #confirm({ request, frame, html }: Visit, id: string, action: ActionName): Promise<Answer> {
    await this.#checkAllowed(request);
    const status = await (await this.#offered(id, action)).status();
    return html(200, confirmPage(frame.paths, action, status));
  }

  /** The batch, if what is to be done with it makes sense in the state that it is in. */
  async #offered(id: string, action: ActionName): Promise<Batch> {
    const batch = await this.#batches.getBatch(id);
    const status = await batch.status();
    if (!isOffered(action, status.state)) {
      throw new Refusal(409, 'Not possible', refusal(action, status), { batchId: id });
    }
    return batch;
  }

  /** What has begun goes on when it takes longer than a page can wait, as cancelling many members does. */
  async #act(visit: Visit, id: string, action: ActionName): Promise<Answer> {
    const { request, frame } = visit;
    const foreign = foreignness(request);
    if (foreign !== undefined) {
      throw new Refusal(403, 'Refused', foreign);
    }
    await this.#checkAllowed(request);
    const reason = (await formOf(request)).get('reason')?.trim() || undefined;
    const batch = await inTime(this.#offered(id, action), ANSWER_MS).catch(sayNothingWasDone);
    const { perform, done, begun } = ACTIONS[action];
    const work = perform(batch, reason);
    // Nobody listens any more when it fails after the answer was given: the batch's own page tells where it stands.
    work.catch(() => {});
    try {
      const jobs = await inTime(work, ANSWER_MS);
      return visit.wantsJson
        ? jsonAnswer(200, { id, action, message: done(jobs), ...(jobs === undefined ? {} : { jobs }) })
        : seeOther(frame.paths.batch(id, { done: action, jobs }));
    } catch (error) {
      if (error instanceof NoAnswer) {
        return visit.wantsJson
          ? jsonAnswer(202, { id, action, message: begun })
          : seeOther(frame.paths.batch(id, { begun: action }));
      }
      throw error instanceof BatchError ? asConflict(error) : error;
    }
  }

  async #checkAllowed(request: Request): Promise<void> {
    if (!(await this.#mayAct(request))) {
      throw new Refusal(
        403,
        'Not allowed',
        'This page only shows batches here: whoever runs it has not allowed you to change any (allowActions).',
      );
    }
    const { allowActions, allowedHosts } = this.#settings;
    const host = hostAskedFor(request);
    if (allowActions === true && !allowedHosts.has(host)) {
      throw new Refusal(
        403,
        'Not allowed',
        `This request asks for the page as '${host}', a host under which it changes no batches, and was refused. ` +
          `If the page belongs there, whoever runs it adds '${host}' to the option allowedHosts of batchPage(), ` +
          'or decides with a function as allowActions.',
      );
    }
  }

  async #mayAct(request: Request): Promise<boolean> {
    const { allowActions: allowed } = this.#settings;
    return typeof allowed === 'function' ? (await allowed(request)) === true : allowed;
  }

  /** The state is part of the key: when the batch has gone on to another, an older reading tells nothing any more. */
  #tree(batch: Batch, { state }: BatchStatus): Promise<BatchTree> {
    return this.#readings.read(`tree ${state} ${batch.id}`, () => batch.tree());
  }

  #explanation(batch: Batch, { state }: BatchStatus): Promise<BatchExplanation> {
    return this.#readings.read(`explain ${state} ${batch.id}`, () => batch.explain());
  }
}

/** One request, and how it is answered. */
class Visit {
  constructor(
    readonly request: Request,
    readonly url: URL,
    readonly route: Route,
    readonly frame: Frame,
  ) {}

  get wantsJson(): boolean {
    const accept = this.request.headers.get('accept') ?? '';
    return this.route.json || (accept.includes('application/json') && !accept.includes('text/html'));
  }

  readonly html = (status: number, page: Page): Answer =>
    htmlAnswer(status, layout(this.frame, page), this.frame.nonce);

  refuse({ status, heading, message, details: { batchId, headers = {} } }: Refusal): Answer {
    const answer = this.wantsJson
      ? jsonAnswer(status, { error: message })
      : this.html(status, messagePage(this.frame.paths, heading, message, batchId));
    return { ...answer, headers: { ...answer.headers, ...headers } };
  }
}

function checkMethod({ method }: Request, { kind }: Route): void {
  const allowed = kind === 'action' ? ['GET', 'HEAD', 'POST'] : ['GET', 'HEAD'];
  if (!allowed.includes(method)) {
    const headers = { Allow: allowed.join(', ') };
    throw new Refusal(405, 'Not possible', `This address understands ${headers.Allow}, and not ${method}.`, {
      headers,
    });
  }
}

/** What holds a batch; or that a late callback has failed, which the outcome of the batch does not tell. */
function isToBeExplained({ state, callbacks }: BatchStatus): boolean {
  return isUnfinished(state) || (state !== 'failed' && callbacks.some((callback) => callback.state === 'failed'));
}

/** Whoever does not get an answer has to know whether to try again. */
function sayNothingWasDone(error: unknown): never {
  if (error instanceof NoAnswer) {
    throw new Refusal(503, NO_ANSWER_HEADING, `${NO_ANSWER} Nothing was done.`, { headers: RETRY_LATER });
  }
  throw error;
}

function asConflict(error: BatchError): Error {
  const { batchId } = error;
  return error instanceof BatchNotFoundError || error instanceof BatchOptionsError
    ? error
    : new Refusal(409, 'Not possible', error.message, batchId === undefined ? {} : { batchId });
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) {
    return error;
  }
  if (error instanceof NoAnswer) {
    return new Refusal(503, NO_ANSWER_HEADING, NO_ANSWER, { headers: RETRY_LATER });
  }
  if (error instanceof BatchNotFoundError) {
    return new Refusal(404, 'No such batch', error.message);
  }
  if (error instanceof BatchOptionsError) {
    return new Refusal(400, 'Not understood', error.message);
  }
  if (error instanceof BadBody) {
    return new Refusal(error.status, 'Not understood', error.message);
  }
  const message = error instanceof Error ? error.message : String(error);
  return isFromRedis(error)
    ? new Refusal(503, 'Redis does not answer', `Redis cannot be asked: ${message}`, {
        headers: { 'Retry-After': '5' },
      })
    : new Refusal(500, 'Something is broken', `The page could not be made: ${message}`);
}

/** A lost connection, or a Redis that is starting, full or failing over. */
function isFromRedis(error: unknown): boolean {
  const { message = '', code = '' } = error instanceof Error ? (error as NodeJS.ErrnoException) : {};
  return /^E[A-Z]+$/.test(code) || /connection|timed out|aborted|max retries|^[A-Z]{4,} /i.test(message);
}

/** What is not there in time comes with a later request; what fails then is nobody's error here. */
async function ifInTime<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await inTime(reading, DETAILS_MS);
  } catch (error) {
    if (error instanceof NoAnswer) {
      return undefined;
    }
    throw error;
  }
}

function stateOf(given: string | null): ListedState | undefined {
  const state = STATES.find((name) => name === given);
  if (given !== null && given !== '' && state === undefined) {
    throw new Refusal(
      400,
      'Not understood',
      `There is no state '${given}'. Batches are listed as ${STATES.join(', ')}.`,
    );
  }
  return state;
}

const LAST_PAGE = 1_000_000;

function pageOf(given: string | null): number {
  return /^[1-9]\d{0,6}$/.test(given ?? '') ? Math.min(Number(given), LAST_PAGE) : 1;
}

/** Only sentences of our own: an address that somebody sends around says nothing on this page. */
function messageOf(query: URLSearchParams): string | undefined {
  const [done, begun] = [query.get('done'), query.get('begun')];
  const action = ACTIONS[(done ?? begun ?? '') as ActionName] as (typeof ACTIONS)[ActionName] | undefined;
  if (action === undefined || !Object.values(ACTIONS).includes(action)) {
    return undefined;
  }
  const jobs = query.get('jobs') ?? '';
  return done === null ? action.begun : action.done(/^\d{1,9}$/.test(jobs) ? Number(jobs) : undefined);
}
