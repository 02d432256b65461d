/**
 * A line of tasks that take several steps. The caller takes tasks from its front, does one step of each, and adds what
 * is left of them at its end, so that each gets its turn.
 */
export class RoundRobin<T extends { readonly batchId: string }> {
  #line: T[] = [];
  readonly #batches = new Map<string, number>();

  get size(): number {
    return this.#line.length;
  }

  /** Whether any task of this batch is in line. */
  has(batchId: string): boolean {
    return this.#batches.has(batchId);
  }

  add(task: T): void {
    this.#line.push(task);
    this.#batches.set(task.batchId, (this.#batches.get(task.batchId) ?? 0) + 1);
  }

  /** Takes at most `count` tasks from the front of the line. */
  take(count: number): T[] {
    const taken = this.#line.splice(0, count);
    for (const { batchId } of taken) {
      const left = (this.#batches.get(batchId) ?? 0) - 1;
      if (left > 0) {
        this.#batches.set(batchId, left);
      } else {
        this.#batches.delete(batchId);
      }
    }
    return taken;
  }

  clear(): void {
    this.#line = [];
    this.#batches.clear();
  }
}
