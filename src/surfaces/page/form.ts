import { Refusal } from './visit.js';

/** In bytes. No form of the page holds as much. */
export const LARGEST_BODY = 10_240;

/** Reads a form, as a browser or a program sends it: URL-encoded or JSON. Values that are no strings are ignored. */
export async function formOf(request: Request): Promise<ReadonlyMap<string, string>> {
  const text = await textOf(request);
  const isJson = /^application\/json\b/i.test(request.headers.get('content-type') ?? '');
  const entries = isJson && text.trim() !== '' ? Object.entries(objectOf(text)) : [...new URLSearchParams(text)];
  return new Map(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}

function objectOf(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) {
      return value;
    }
  } catch {
    // Malformed JSON is refused below, like JSON that is no object.
  }
  throw new Refusal(400, 'Not understood', 'The body of the request says that it is JSON, and is no JSON object.');
}

async function textOf(request: Request): Promise<string> {
  if (request.bodyUsed) {
    throw new Refusal(
      400,
      'Not understood',
      'The body of the request was read before it came here: hand over request.clone() instead.',
    );
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.body?.getReader();
  while (reader !== undefined) {
    const { done, value } = await reader.read();
    if (done) {
      break;
    }
    size += value.byteLength;
    if (size > LARGEST_BODY) {
      await reader.cancel();
      throw new Refusal(413, 'Not understood', `The body of the request is longer than ${LARGEST_BODY} bytes.`);
    }
    chunks.push(value);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}
