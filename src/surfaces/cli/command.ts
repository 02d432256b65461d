import type { Queue } from 'bullmq';
import type { Batch, BatchQueue } from '../../index.js';
import type { Output } from './output.js';

export interface Option {
  readonly type: 'string' | 'boolean';
  /** What stands for its value in the help. */
  readonly value?: string;
  readonly short?: string;
  readonly help: string;
}

export type Options = Readonly<Record<string, Option>>;

/** What was given for the options of a command, which has checked that nothing else was. */
export interface Given {
  flag(name: string): boolean;
  text(name: string): string | undefined;
  all(name: string): readonly string[];
}

/** What a command has to work with. */
export interface Call {
  /** Empty for a command without ID. */
  readonly id: string;
  readonly given: Given;
  readonly queue: BatchQueue<Queue>;
  readonly out: Output;
  /** @throws BatchNotFoundError */
  findBatch(): Promise<Batch>;
  /** Which Redis and prefix, for people. */
  readonly where: string;
  /** A command line that the user may copy. */
  commandLine(command: string, id: string, ...flags: string[]): string;
}

export interface Command {
  readonly name: string;
  readonly takesId: boolean;
  readonly summary: string;
  /** More paragraphs for the command's own help. */
  readonly details?: readonly string[];
  readonly options: Options;
  /** Finds mistakes before Redis is asked. */
  check?(given: Given): void;
  /** Resolves with the exit code. */
  run(call: Call): Promise<number>;
}

export const JSON_OPTION: Options = { json: { type: 'boolean', help: 'JSON on standard output, for programs' } };
