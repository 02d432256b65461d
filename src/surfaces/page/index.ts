/**
 * A web page that shows batches and, if it is allowed, changes them.
 *
 * @module bullmq-batches/page
 */

export { type BatchPage, type BatchPageOptions, batchPage } from './batch-page.js';
