import type { DiscoveryService, MetadataScanner, Reflector } from '@nestjs/core';
import { BatchOptionsError, type CallbackHandlers } from '../../index.js';
import { CALLBACK } from './decorators.js';

/** What is asked for the methods of the application. */
export interface Discovery {
  readonly discovery: DiscoveryService;
  readonly scanner: MetadataScanner;
  readonly reflector: Reflector;
}

type Provider = ReturnType<DiscoveryService['getProviders']>[number];

/** Finds the methods of all providers and controllers that are callbacks, by the names that they are callbacks of. */
export function callbacksIn(parts: Discovery): CallbackHandlers {
  const callbacks = new Map<string, CallbackHandlers[string]>();
  for (const provider of [...parts.discovery.getProviders(), ...parts.discovery.getControllers()]) {
    for (const { name, run } of callbacksOf(provider, parts)) {
      if (callbacks.has(name)) {
        throw new BatchOptionsError(`There are two methods with @BatchCallback('${name}'): a callback has one.`);
      }
      callbacks.set(name, run);
    }
  }
  return Object.fromEntries(callbacks);
}

function callbacksOf(
  provider: Provider,
  { scanner, reflector }: Discovery,
): { name: string; run: CallbackHandlers[string] }[] {
  const prototype = prototypeOf(provider);
  if (prototype === null) {
    return [];
  }
  return scanner.getAllMethodNames(prototype).flatMap((method) => {
    const name = reflector.get<string | undefined>(CALLBACK, (prototype as Record<string, never>)[method] as never);
    if (name === undefined) {
      return [];
    }
    if (!provider.isDependencyTreeStatic()) {
      throw new BatchOptionsError(
        `@BatchCallback('${name}') is on a method of ${provider.name}, which is made for each request: a callback ` +
          'runs outside of requests. Put it on a provider of the default scope.',
      );
    }
    const run: CallbackHandlers[string] = (job) => provider.instance[method](job);
    return [{ name, run }];
  });
}

/** That of the class; the `metatype` of a provider that is made by a factory is the factory. */
function prototypeOf({ instance, metatype, inject }: Provider): object | null {
  const isOfClass = typeof metatype === 'function' && inject === undefined;
  const prototype: unknown = isOfClass ? metatype.prototype : Object.getPrototypeOf(Object(instance));
  return typeof prototype === 'object' ? prototype : null;
}
