import { type BatchError, BatchNotFoundError, BatchOptionsError } from '../../index.js';
import { type Answer, htmlAnswer, jsonAnswer } from './answer.js';
import { type Frame, layout, type Page } from './layout.js';
import { messagePage } from './message-view.js';
import type { Route } from './paths.js';
import { NoAnswer } from './readings.js';

/** One request with what is needed to answer it. */
export class Visit {
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

/** An error or a refusal, as an answer with its HTTP status. */
export class Refusal extends Error {
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

const NO_ANSWER_HEADING = 'Redis does not answer';
const NO_ANSWER =
  'Redis has not answered within 5 seconds. Its client tries to connect again by itself: reload the page in a moment.';

const RETRY_LATER = { 'Retry-After': '5' };

export function refusalOf(error: unknown): Refusal {
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
  const message = error instanceof Error ? error.message : String(error);
  return isFromRedis(error)
    ? new Refusal(503, NO_ANSWER_HEADING, `Redis cannot be asked: ${message}`, { headers: RETRY_LATER })
    : new Refusal(500, 'Something is broken', `The page could not be made: ${message}`);
}

/** Whether Redis cannot be used now: the connection is lost, or the server starts, is full, or fails over. */
function isFromRedis(error: unknown): boolean {
  const { message = '', code = '' } = error instanceof Error ? (error as NodeJS.ErrnoException) : {};
  return /^E[A-Z]+$/.test(code) || /connection|timed out|aborted|max retries|^[A-Z]{4,} /i.test(message);
}

export function asConflict(error: BatchError): Error {
  const { batchId } = error;
  return error instanceof BatchNotFoundError || error instanceof BatchOptionsError
    ? error
    : new Refusal(409, 'Not possible', error.message, batchId === undefined ? {} : { batchId });
}

/** Adds to a missing answer that nothing was done, so that the reader knows that the action can be tried again. */
export function sayNothingWasDone(error: unknown): never {
  if (error instanceof NoAnswer) {
    throw new Refusal(503, NO_ANSWER_HEADING, `${NO_ANSWER} Nothing was done.`, { headers: RETRY_LATER });
  }
  throw error;
}
