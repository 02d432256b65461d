import type { BatchCounts } from '../batch/lookup.js';
import { BatchOptionsError } from '../errors.js';
import { checkObject, describe } from '../validation.js';

/** What one BatchWorker has done since it started. */
export interface WorkDone {
  readonly finished: { readonly succeeded: number; readonly failed: number };
  readonly repairs: { readonly missing: number; readonly settled: number; readonly woken: number };
}

/**
 * The labels that tell the samples of one metric apart. A label of the user with such a name would make two samples
 * equal, and Prometheus would refuse them all.
 */
const OWN_LABELS = ['state', 'outcome', 'kind'];

export function checkLabels(labels: unknown): asserts labels is Readonly<Record<string, string>> {
  checkObject('exportPrometheusMetrics(labels): labels', labels);
  for (const [name, value] of Object.entries(labels)) {
    if (!/^[A-Za-z_]\w*$/.test(name) || typeof value !== 'string' || OWN_LABELS.includes(name)) {
      throw new BatchOptionsError(
        `exportPrometheusMetrics(labels): a label is a name of letters, digits and '_', other than ` +
          `${OWN_LABELS.join(', ')}, with a string, not ${describe(name)}: ${describe(value)}.`,
      );
    }
  }
}

/**
 * Writes the metrics in the form of BullMQ's own `queue.exportPrometheusMetrics()`, so that both can be sent in one
 * answer.
 */
export function prometheusMetrics(
  prefix: string,
  counts: BatchCounts,
  { finished, repairs }: WorkDone,
  labels: Readonly<Record<string, string>>,
): string {
  const metric = (name: string, type: 'gauge' | 'counter', help: string, label: string, values: object) => [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...Object.entries(values).map(([value, number]) => {
      const all = Object.entries({ prefix, [label]: value, ...labels });
      return `${name}{${all.map(([key, text]) => `${key}="${escaped(text)}"`).join(', ')}} ${number}`;
    }),
  ];
  return [
    ...metric('bullmq_batch_count', 'gauge', 'Number of batches by state', 'state', counts),
    ...metric(
      'bullmq_batch_finished_total',
      'counter',
      'Number of batches that this BatchWorker has seen finish',
      'outcome',
      finished,
    ),
    ...metric(
      'bullmq_batch_repairs_total',
      'counter',
      'Number of repairs by this BatchWorker: members found missing, members settled late, batches woken',
      'kind',
      repairs,
    ),
  ].join('\n');
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
