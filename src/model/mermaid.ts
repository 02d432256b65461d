import type { BatchState } from './rules.js';
import type { MemberCounts } from './snapshot.js';
import type { When } from './workflow.js';

/** A stage as it is drawn; with a state, as a part of a run. */
export interface DrawnStage extends Partial<Pick<MemberCounts, 'total' | 'pending'>> {
  readonly name: string;
  readonly after: readonly string[];
  readonly when: When;
  readonly state?: BatchState;
  /** Of a stage that is a workflow: its stages. */
  readonly stages?: readonly DrawnStage[] | undefined;
}

/** A drawing with more stages is none: workflows that are stages are single boxes then, the innermost ones first. */
const MOST_DRAWN = 200;

const COLOURS: Readonly<Partial<Record<BatchState, string>>> = {
  running: 'fill:#dbeafe,stroke:#2563eb,color:#111827',
  finishing: 'fill:#dbeafe,stroke:#2563eb,color:#111827',
  succeeded: 'fill:#dcfce7,stroke:#16a34a,color:#111827',
  failed: 'fill:#fee2e2,stroke:#dc2626,color:#111827',
  cancelled: 'fill:#fef3c7,stroke:#d97706,color:#111827',
  skipped: 'fill:#f3f4f6,stroke:#9ca3af,color:#6b7280,stroke-dasharray:4',
};

/**
 * Draws stages as the text of a Mermaid flowchart, which GitHub, GitLab and many editors show as a picture. A stage
 * that is a workflow is a subgraph with its own stages.
 */
export function mermaid(stages: readonly DrawnStage[]): string {
  const { nodes, links, classes } = drawn(stages, { opened: openedOf(stages), start: 's', indent: '  ' });
  const states = new Set(classes.map(({ state }) => state));
  return [
    'flowchart TD',
    ...nodes,
    ...links,
    ...classes.map(({ id, state }) => `  class ${id} ${state}`),
    ...[...states].flatMap((state) => (COLOURS[state] === undefined ? [] : `  classDef ${state} ${COLOURS[state]}`)),
  ].join('\n');
}

/** Links stand below all subgraphs: one that comes earlier would make a box of a subgraph that it names. */
interface Drawing {
  readonly nodes: readonly string[];
  readonly links: readonly string[];
  readonly classes: readonly { readonly id: string; readonly state: BatchState }[];
}

interface Place {
  readonly opened: ReadonlySet<DrawnStage>;
  /** What the ids of the stages begin with. */
  readonly start: string;
  readonly indent: string;
}

function drawn(stages: readonly DrawnStage[], { opened, start, indent }: Place): Drawing {
  const idOf = new Map(stages.map(({ name }, i) => [name, `${start}${i}`]));
  const parts = stages.map((stage, i): Drawing => {
    const id = `${start}${i}`;
    const classes = stage.state === undefined ? [] : [{ id, state: stage.state }];
    const links = stage.after.flatMap((name) => {
      const from = idOf.get(name);
      return from === undefined ? [] : `  ${from} -->${stage.when === 'success' ? '' : `|${stage.when}|`} ${id}`;
    });
    if (!opened.has(stage)) {
      return { nodes: [`${indent}${id}["${textOf(stage).join('<br/>')}"]`], links, classes };
    }
    const inside = drawn(stage.stages ?? [], { opened, start: `${id}_`, indent: `${indent}  ` });
    const title = `${indent}subgraph ${id}["${textOf(stage).join(', ')}"]`;
    return {
      nodes: [title, `${indent}  direction TB`, ...inside.nodes, `${indent}end`],
      links: [...links, ...inside.links],
      classes: [...classes, ...inside.classes],
    };
  });
  return {
    nodes: parts.flatMap(({ nodes }) => nodes),
    links: parts.flatMap(({ links }) => links),
    classes: parts.flatMap(({ classes }) => classes),
  };
}

/** The stages that are drawn with those inside of them: level by level, so that the limit leaves out the innermost. */
function openedOf(stages: readonly DrawnStage[]): ReadonlySet<DrawnStage> {
  const opened = new Set<DrawnStage>();
  let count = stages.length;
  for (let level = stages; level.length > 0; ) {
    const next: DrawnStage[] = [];
    for (const stage of level) {
      const { stages: inside = [] } = stage;
      if (inside.length > 0 && count + inside.length <= MOST_DRAWN) {
        opened.add(stage);
        next.push(...inside);
        count += inside.length;
      }
    }
    level = next;
  }
  return opened;
}

function textOf({ name, state, total = 0, pending = 0 }: DrawnStage): string[] {
  const isCounted = state !== undefined && state !== 'waiting' && state !== 'skipped';
  return [
    escaped(name),
    ...(state === undefined ? [] : [state]),
    ...(isCounted ? [`${total - pending} of ${total}`] : []),
  ];
}

/**
 * A name as Mermaid shows it: what would end the text, begin a directive or an entity, or be read as HTML or Markdown
 * is written as an entity.
 */
function escaped(name: string): string {
  return name
    .replace(/["#<>&%$`*\\[\]{}|]|^_+|_+$/g, (found) => [...found].map((sign) => `#${sign.codePointAt(0)};`).join(''))
    .replace(/^(\d+)\)/, '$1#41;')
    .replace(/^[-+]/, (sign) => `#${sign.charCodeAt(0)};`);
}
