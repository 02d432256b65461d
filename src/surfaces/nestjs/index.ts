export { BatchCallback, getBatchesToken, InjectBatches } from './decorators.js';
export { BatchesModule, type BatchesModuleAsyncOptions, type BatchesModuleOptions } from './module.js';
