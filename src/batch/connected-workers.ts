import type { Queue } from 'bullmq';
import { isConnectionError } from '../record/connection-error.js';

/** A connection in Redis's list. Without CLIENT LIST, BullMQ invents one, which has no `rawname`. */
interface Connection {
  readonly rawname?: string;
  /** The last command. */
  readonly cmd?: string;
}

/** What getWorkers() of BullMQ 5 and 6 is made of. */
interface ConnectionLister {
  clientName(): string;
  baseGetClients?(isWanted: (name?: string) => boolean): Promise<readonly Connection[]>;
}

/**
 * Returns how many workers are connected to a queue, or undefined where Redis does not say. BullMQ's getWorkers() finds
 * those in Node only: the others name their connections after the queue as it is, instead of in base64.
 */
export async function connectedWorkers(queue: Queue, prefix: string): Promise<number | undefined> {
  try {
    const otherName = `${prefix}:${queue.name}`;
    const connections = await connectionsOf(queue, otherName);
    return connections.every(({ rawname }) => rawname !== undefined) ? countWorkers(connections, otherName) : undefined;
  } catch (error) {
    if (isConnectionError(error)) {
      throw error;
    }
    return undefined;
  }
}

function connectionsOf(queue: Queue, otherName: string): Promise<readonly Connection[]> {
  const lister = queue as unknown as ConnectionLister;
  if (lister.baseGetClients === undefined) {
    return queue.getWorkers();
  }
  const nodeName = lister.clientName();
  return lister.baseGetClients((name) => isNamed(name, nodeName) || isNamed(name, otherName));
}

/** A worker that has a name of its own adds it. */
function isNamed(name: string | undefined, clientName: string): boolean {
  return name === clientName || name?.startsWith(`${clientName}:w:`) === true;
}

/** Counts the connections that wait for jobs: a worker in Python names the one that runs its scripts, too. */
function countWorkers(connections: readonly Connection[], otherName: string): number {
  const others = connections.filter(({ rawname }) => isNamed(rawname, otherName));
  const waiting = others.filter(({ cmd }) => cmd?.startsWith('eval') !== true);
  return connections.length - others.length + Math.max(waiting.length, Math.min(others.length, 1));
}
