import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { EXIT } from './failure.js';
import { jsonLine, printable } from './text.js';

const STYLES = { red: [31, 39], green: [32, 39], yellow: [33, 39], dim: [2, 22], bold: [1, 22] } as const;

export type Style = keyof typeof STYLES;
export type Paint = (style: Style | undefined, text: string) => string;

/** Lines that are collected before they are written. */
const CHUNK = 16_384;

/**
 * Standard output, and what it is: a terminal of some size, or a pipe or file. Errors and warnings go to standard
 * error.
 */
export class Output {
  #collected = '';

  constructor(
    readonly hasColours: boolean,
    private readonly stdout: NodeJS.WriteStream = process.stdout,
    private readonly stderr: NodeJS.WriteStream = process.stderr,
  ) {
    for (const stream of [stdout, stderr]) {
      // The reader of the pipe has closed it, as `head` does when it has enough.
      stream.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'EPIPE') {
          process.exit(EXIT.ok);
        }
        // Synchronously: the process ends before a stream would have written it.
        writeSync(2, `bullmq-batches: The output cannot be written, and is not complete: ${error.message}.\n`);
        process.exit(EXIT.failed);
      });
    }
  }

  get isTerminal(): boolean {
    return this.stdout.isTTY === true;
  }

  /** Lines for people are not wider; without a terminal they may be of any length. */
  get columns(): number {
    return this.isTerminal ? this.stdout.columns || 80 : Number.POSITIVE_INFINITY;
  }

  get rows(): number {
    return this.stdout.rows || 24;
  }

  readonly paint: Paint = (style, text) => {
    if (style === undefined || !this.hasColours || text === '') {
      return text;
    }
    const [on, off] = STYLES[style];
    return `\u001b[${on}m${text}\u001b[${off}m`;
  };

  /** Waits while the reader is slower than we are. */
  async line(text = ''): Promise<void> {
    await this.write(`${text}\n`);
  }

  async json(value: unknown): Promise<void> {
    await this.line(jsonLine(value));
  }

  async write(text: string): Promise<void> {
    this.#collected += text;
    if (this.#collected.length >= CHUNK) {
      await this.flush();
    }
  }

  async flush(): Promise<void> {
    const text = this.#collected;
    this.#collected = '';
    if (text !== '' && !this.stdout.write(text)) {
      await once(this.stdout, 'drain');
    }
  }

  /** Everything has been handed to the system: now the process may end. */
  async finish(): Promise<void> {
    await this.flush();
    await new Promise<void>((resolve) => void this.stdout.write('', () => resolve()));
    await new Promise<void>((resolve) => void this.stderr.write('', () => resolve()));
  }

  warn(text: string): void {
    this.stderr.write(`bullmq-batches: ${printable(text)}\n`);
  }
}

/** Colours are for terminals, unless the user says otherwise. */
export function wantsColours(flag: boolean, env: NodeJS.ProcessEnv, isTerminal: boolean): boolean {
  const { FORCE_COLOR: force, NO_COLOR: no, TERM } = env;
  if (flag) {
    return false;
  }
  if (force !== undefined) {
    return force !== '0' && force !== 'false';
  }
  return isTerminal && !no && TERM !== 'dumb';
}
