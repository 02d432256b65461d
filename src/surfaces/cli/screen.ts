import type { Output } from './output.js';
import { widthOf, withoutSequences } from './text.js';

const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** Lines of a terminal that are drawn again in place. */
export class Screen {
  lines: readonly string[] = [];
  #isHeld = false;
  /** However the program ends, the terminal has its cursor back. */
  readonly #onExit = () => this.release();
  readonly #onEnd = () => process.exit(143);

  constructor(private readonly out: Output) {}

  /** As many lines as the terminal has rows, less one, and none wider than it is. */
  async draw(lines: readonly string[]): Promise<void> {
    if (!this.#isHeld) {
      this.#isHeld = true;
      process.once('exit', this.#onExit);
      process.once('SIGTERM', this.#onEnd);
      await this.out.write(HIDE_CURSOR);
    } else if (lines.join('\n') === this.lines.join('\n')) {
      return;
    }
    const height = this.lines.reduce((sum, line) => sum + rowsOf(line, this.out.columns), 0);
    const up = height === 0 ? '' : `\u001b[${height}A`;
    const drawn = lines.map((line) => `${line}${CLEAR_LINE}\n`).join('');
    this.lines = lines;
    await this.out.write(`\r${up}${drawn}${CLEAR_BELOW}`);
    await this.out.flush();
  }

  release(): void {
    if (this.#isHeld) {
      this.#isHeld = false;
      process.removeListener('exit', this.#onExit);
      process.removeListener('SIGTERM', this.#onEnd);
      process.stdout.write(SHOW_CURSOR);
    }
  }
}

/** How many rows a line takes: a terminal that was made narrower since has broken it. */
function rowsOf(line: string, columns: number): number {
  return Math.max(1, Math.ceil(widthOf(withoutSequences(line)) / columns));
}
