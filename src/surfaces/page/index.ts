export { type BatchPage, type BatchPageOptions, batchPage } from './batch-page.js';
