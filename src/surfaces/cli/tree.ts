import type { BatchTree } from '../../index.js';
import { type Command, JSON_OPTION } from './command.js';
import { EXIT } from './failure.js';
import type { Output, Paint } from './output.js';
import { lossesOf, styleOf } from './state.js';
import { number, plural, printable, shortened, widthOf } from './text.js';

export const treeCommand: Command = {
  name: 'tree',
  takesId: true,
  summary: 'Shows a batch with all batches below it, and their jobs added up',
  options: JSON_OPTION,
  async run({ findBatch, given, out }) {
    const tree = await (await findBatch()).tree();
    await (given.flag('json') ? out.json(tree) : print(tree, out));
    return EXIT.ok;
  },
};

interface Branch {
  readonly tree: BatchTree;
  /** What stands before its own line, and before those of its children. */
  readonly before: string;
  readonly beforeChildren: string;
}

async function print(root: BatchTree, out: Output): Promise<void> {
  const branches: Branch[] = [{ tree: root, before: '', beforeChildren: '' }];
  for (let branch = branches.pop(); branch !== undefined; branch = branches.pop()) {
    await out.line(lineOf(branch, out.columns, out.paint));
    const { tree, beforeChildren } = branch;
    // An explicit stack: batches can be nested deeper than the call stack allows.
    for (const [i, child] of [...tree.children.entries()].reverse()) {
      const isLast = i === tree.children.length - 1;
      branches.push({
        tree: child,
        before: `${beforeChildren}${isLast ? '└─ ' : '├─ '}`,
        beforeChildren: `${beforeChildren}${isLast ? '   ' : '│  '}`,
      });
    }
  }
}

function lineOf({ tree, before }: Branch, columns: number, paint: Paint): string {
  const { jobs, state } = tree;
  const done = `${number(jobs.succeeded)} of ${plural(jobs.total, 'job')}`;
  const facts = [done, ...lossesOf(jobs)].join(', ');
  const name =
    tree.description === undefined ? printable(tree.id) : `${printable(tree.description)} (${printable(tree.id)})`;
  const room = columns - widthOf(`${before}  ${state}  ${facts}`);
  // What is too long loses its description first: the id is what the other commands take.
  const short = room >= widthOf(name) ? name : nameWithin(tree, room);
  return `${paint('dim', before)}${short}  ${paint(styleOf(state), state)}  ${facts}`;
}

function nameWithin({ id, description }: BatchTree, room: number): string {
  const left = room - widthOf(printable(id)) - 3;
  return left < 5 || description === undefined
    ? printable(id)
    : `${shortened(printable(description), left)} (${printable(id)})`;
}
