import { type Batch, BatchError, BatchNotFoundError, type ListedState } from '../../index.js';
import { ACTIONS, isOffered, refusal } from './actions.js';
import { type Answer, jsonAnswer, newNonce, responseOf, seeOther } from './answer.js';
import { BatchReader } from './batch-reader.js';
import { batchPage as batchView } from './batch-view.js';
import { failuresPage } from './failures-view.js';
import { formOf } from './form.js';
import { type Batches, readOverview, readState, STATES, search } from './list.js';
import { listPage } from './list-view.js';
import { confirmPage } from './message-view.js';
import type { Mount } from './node-handler.js';
import { ACTION_NAMES, type ActionName, Paths, type Route, routeOf } from './paths.js';
import { inTime, NoAnswer } from './readings.js';
import { foreignness, hostAskedFor } from './same-origin.js';
import type { Settings } from './settings.js';
import { asConflict, Refusal, refusalOf, sayNothingWasDone, Visit } from './visit.js';

/** After how many ms without an answer of Redis the page says so, instead of staying empty. */
const ANSWER_MS = 5000;
const FAILURES_PER_PAGE = 25;

/** The page of one queue's Redis and prefix: finds out what a request is for, and answers it. */
export class Site {
  readonly #batches: Batches;
  readonly #settings: Settings;
  readonly #reader: BatchReader;

  constructor(batches: Batches, settings: Settings) {
    this.#batches = batches;
    this.#reader = new BatchReader(batches);
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
      case 'reasons':
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
      const status = await (await this.#batches.getBatch(route.id)).status();
      this.#reader.hasSeen(status);
      return jsonAnswer(200, status);
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
    const [details, mayAct] = await Promise.all([this.#reader.details(batch), this.#mayAct(visit.request)]);
    const message = messageOf(visit.url.searchParams);
    return visit.html(200, batchView(visit.frame.paths, { ...details, mayAct, message }));
  }

  async #failures({ url, route, frame, html }: Visit, batch: Batch): Promise<Answer> {
    const cursor = url.searchParams.get('cursor') ?? undefined;
    const reason = url.searchParams.get('reason') ?? undefined;
    const [status, page] = await Promise.all([
      batch.status(),
      batch.failuresPage({ cursor, count: FAILURES_PER_PAGE, reason }),
    ]);
    if (route.json) {
      return jsonAnswer(200, page);
    }
    const [ancestors, names, reasons] = await Promise.all([
      this.#reader.ancestors(batch),
      this.#reader.namesOf(page.failures),
      this.#reader.reasonsInTime(batch, status),
    ]);
    const view = { status, page, ancestors, names, reasons, reason, isFirst: cursor === undefined };
    return html(200, failuresPage(frame.paths, view));
  }

  async #detailJson(kind: 'tree' | 'explain' | 'reasons', batch: Batch): Promise<Answer> {
    return jsonAnswer(200, await this.#reader[kind](batch, await batch.status()));
  }

  async #confirm({ request, frame, html }: Visit, id: string, action: ActionName): Promise<Answer> {
    await this.#checkAllowed(request);
    const batch = await this.#offered(id, action);
    const [status, ancestors] = await Promise.all([batch.status(), this.#reader.ancestors(batch)]);
    return html(200, confirmPage(frame.paths, { action, status, ancestors }));
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

  /** Performs an action. One that takes longer than a page can wait, as cancelling many members may, goes on. */
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
    // The work may fail after the answer was given. The page of the batch shows then where it stands.
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

/** Shows fixed sentences only, so that nobody can put words into the page with a link. */
function messageOf(query: URLSearchParams): string | undefined {
  const [done, begun] = [query.get('done'), query.get('begun')];
  const name = ACTION_NAMES.find((one) => one === (done ?? begun));
  if (name === undefined) {
    return undefined;
  }
  const jobs = query.get('jobs') ?? '';
  return done === null ? ACTIONS[name].begun : ACTIONS[name].done(/^\d{1,9}$/.test(jobs) ? Number(jobs) : undefined);
}
