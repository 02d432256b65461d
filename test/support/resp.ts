/* As much of Redis's protocol (RESP 2 and 3) as it takes to find out where a command, or a reply, ends. */

const CRLF = '\r\n';

/** Where the value that begins at `from` ends, or undefined when the rest of it has not arrived yet. */
export function endOfValue(buffer: Buffer, from = 0): number | undefined {
  const lineEnd = buffer.indexOf(CRLF, from);
  if (lineEnd === -1) {
    return undefined;
  }
  const next = lineEnd + CRLF.length;
  const size = Number(buffer.toString('latin1', from + 1, lineEnd));
  switch (String.fromCharCode(buffer[from] ?? 0)) {
    case '$':
    case '=':
    case '!': {
      const end = size < 0 ? next : next + size + CRLF.length;
      return end <= buffer.length ? end : undefined;
    }
    case '*':
    case '~':
    case '>':
      return endOfValues(buffer, next, size);
    case '%':
      return endOfValues(buffer, next, 2 * size);
    case '|':
      // Attributes come before the value that they describe.
      return endOfValues(buffer, next, 2 * size + 1);
    default:
      return next;
  }
}

function endOfValues(buffer: Buffer, from: number, count: number): number | undefined {
  let end: number | undefined = from;
  for (let i = 0; i < count && end !== undefined; i++) {
    end = endOfValue(buffer, end);
  }
  return end;
}

/** The words of a command, which clients send as an array of strings. */
export function wordsOf(command: Buffer): string[] {
  const words: string[] = [];
  for (let at = command.indexOf(CRLF) + CRLF.length; at < command.length; ) {
    const lineEnd = command.indexOf(CRLF, at);
    const start = lineEnd + CRLF.length;
    const end = start + Number(command.toString('latin1', at + 1, lineEnd));
    words.push(command.toString('utf8', start, end));
    at = end + CRLF.length;
  }
  return words;
}

/** Collects what arrives on a socket and hands it out value by value. */
export class Frames {
  #rest: Buffer = Buffer.alloc(0);

  push(data: Buffer): void {
    this.#rest = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data]);
  }

  /** The next whole value, which stays there until it is taken. */
  peek(): Buffer | undefined {
    const end = endOfValue(this.#rest);
    return end === undefined ? undefined : this.#rest.subarray(0, end);
  }

  take(): Buffer | undefined {
    const frame = this.peek();
    if (frame !== undefined) {
      this.#rest = this.#rest.subarray(frame.length);
    }
    return frame;
  }
}
