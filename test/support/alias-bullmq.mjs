// For child processes: `bullmq` is the version that the test runs against, as vitest's alias does for the test itself.
import { register } from 'node:module';

if (process.env.BULLMQ && process.env.BULLMQ !== 'bullmq') {
  const hook = `export const resolve = (specifier, context, next) =>
    next(specifier === 'bullmq' ? ${JSON.stringify(process.env.BULLMQ)} : specifier, context);`;
  register(`data:text/javascript,${encodeURIComponent(hook)}`);
}
