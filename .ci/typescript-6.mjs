// TypeDoc needs TypeScript's JavaScript API, which TypeScript 7 does not have: it is given version 6, installed as
// `typescript6`.
import { register } from 'node:module';

register(
  `data:text/javascript,${encodeURIComponent(`
    export const resolve = (specifier, context, next) =>
      next(specifier === 'typescript' ? 'typescript6' : specifier, context);
  `)}`,
  import.meta.url,
);
