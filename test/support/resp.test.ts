import { expect, test } from 'vitest';
import { endOfValue, Frames, wordsOf } from './resp.js';

test.for([
  '+OK\r\n',
  '-ERR no\r\n',
  ':42\r\n',
  '_\r\n',
  '#t\r\n',
  ',1.5\r\n',
  '$-1\r\n',
  '$0\r\n\r\n',
  '$4\r\na\r\nb\r\n',
  '=7\r\ntxt:abc\r\n',
  '*-1\r\n',
  '*0\r\n',
  '*3\r\n:1\r\n*2\r\n+a\r\n$1\r\nb\r\n_\r\n',
  '~1\r\n+a\r\n',
  '>2\r\n+message\r\n$2\r\nhi\r\n',
  '%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n',
  '|1\r\n+ttl\r\n:1\r\n*1\r\n+a\r\n',
])('%j ends where it ends, and not before', (text) => {
  const frame = Buffer.from(text);
  for (let length = 0; length < frame.length; length++) {
    expect(endOfValue(frame.subarray(0, length))).toBeUndefined();
  }
  expect(endOfValue(Buffer.concat([frame, frame]))).toBe(frame.length);
});

test('what arrives in pieces is handed out whole', () => {
  const frames = new Frames();
  const taken: string[] = [];
  for (const byte of Buffer.from('*2\r\n$4\r\nECHO\r\n$3\r\nä!\r\n*1\r\n$4\r\nPING\r\n')) {
    frames.push(Buffer.from([byte]));
    const frame = frames.take();
    if (frame !== undefined) {
      taken.push(wordsOf(frame).join(' '));
    }
  }
  expect(taken).toEqual(['ECHO ä!', 'PING']);
});
