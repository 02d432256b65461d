import { expect, test } from 'vitest';
import type { Command } from '../../../src/surfaces/cli/command.js';
import { helpOf, helpOfCommand } from '../../../src/surfaces/cli/help.js';

const command: Command = {
  name: 'paint',
  takesId: true,
  summary: 'Paints all members of a batch, and of the batches below it, in the colour that the option names, or in red',
  details: ['The first paragraph is long enough for two lines. '.repeat(3).trim(), 'The second one is not.'],
  options: {
    colour: { type: 'string', value: 'COLOUR', help: 'one of the colours of the rainbow; '.repeat(4).trim() },
  },
  run: async () => 0,
};

test.each([80, 120, Number.POSITIVE_INFINITY])(
  'help is read in a terminal of %d columns without broken words',
  (columns) => {
    for (const help of [helpOf([command], columns), helpOfCommand(command, columns)]) {
      for (const line of help.split('\n')) {
        expect(line.length).toBeLessThanOrEqual(Math.min(columns, 120));
      }
    }
  },
);

test('what is said of an option stays in its column', () => {
  expect(helpOfCommand(command, 80)).toContain(
    '  --colour COLOUR       one of the colours of the rainbow; one of the colours of\n' +
      '                        the rainbow;',
  );
});
