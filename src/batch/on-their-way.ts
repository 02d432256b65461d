import type { Member } from './members.js';

/**
 * Members with ids of the caller's, of which one call may have the same twice: until the first is stored, it looks to the
 * second like one that was left half-added, and would be added again. So the second waits; all others go on side by side.
 */
export class OnTheirWay {
  readonly #adding = new Map<string, Promise<unknown>>();

  async add<T>(named: readonly Member[], add: () => Promise<T>): Promise<T> {
    const ids = named.map(({ queue, id }) => `${queue.name}:${id}`);
    const earlier = ids.flatMap((id) => this.#adding.get(id) ?? []);
    const added = (earlier.length === 0 ? Promise.resolve() : Promise.all(earlier)).then(add);
    const settled = added.then(
      () => {},
      () => {},
    );
    for (const id of ids) {
      this.#adding.set(id, settled);
    }
    try {
      return await added;
    } finally {
      for (const id of ids) {
        if (this.#adding.get(id) === settled) {
          this.#adding.delete(id);
        }
      }
    }
  }
}
