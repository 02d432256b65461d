import type { BatchState } from './rules.js';
import type { Counts } from './snapshot.js';
import type { When } from './workflow.js';

/** A stage as it is drawn; with a state, as a part of a run. */
export interface DrawnStage extends Partial<Pick<Counts, 'total' | 'pending'>> {
  readonly name: string;
  readonly after: readonly string[];
  readonly when: When;
  readonly state?: BatchState;
}

const COLOURS: Readonly<Partial<Record<BatchState, string>>> = {
  running: 'fill:#dbeafe,stroke:#2563eb,color:#111827',
  finishing: 'fill:#dbeafe,stroke:#2563eb,color:#111827',
  succeeded: 'fill:#dcfce7,stroke:#16a34a,color:#111827',
  failed: 'fill:#fee2e2,stroke:#dc2626,color:#111827',
  cancelled: 'fill:#fef3c7,stroke:#d97706,color:#111827',
  skipped: 'fill:#f3f4f6,stroke:#9ca3af,color:#6b7280,stroke-dasharray:4',
};

/** Draws stages as the text of a Mermaid flowchart, which GitHub, GitLab and many editors show as a picture. */
export function mermaid(stages: readonly DrawnStage[]): string {
  const idOf = new Map(stages.map(({ name }, i) => [name, `s${i}`]));
  const states = new Set(stages.flatMap(({ state }) => state ?? []));
  return [
    'flowchart TD',
    ...stages.map((stage) => `  ${idOf.get(stage.name)}["${label(stage)}"]`),
    ...stages.flatMap(({ name, after, when }) =>
      after.map((one) => `  ${idOf.get(one)} -->${when === 'success' ? '' : `|${when}|`} ${idOf.get(name)}`),
    ),
    ...stages.flatMap(({ name, state }) => (state === undefined ? [] : `  class ${idOf.get(name)} ${state}`)),
    ...[...states].flatMap((state) => (COLOURS[state] === undefined ? [] : `  classDef ${state} ${COLOURS[state]}`)),
  ].join('\n');
}

function label({ name, state, total = 0, pending = 0 }: DrawnStage): string {
  const text = name.replaceAll('"', '#quot;');
  const isCounted = state !== undefined && state !== 'waiting' && state !== 'skipped';
  return [text, ...(state === undefined ? [] : [state]), ...(isCounted ? [`${total - pending} of ${total}`] : [])].join(
    '<br/>',
  );
}
