import type { Queue } from 'bullmq';
import { isConnectionError } from '../record/connection-error.js';

/** A connection in Redis's list. Without CLIENT LIST, BullMQ invents one, which has no `rawname`. */
interface Connection {
  readonly rawname?: string;
  /** The command that the connection has sent last. */
  readonly cmd?: string;
}

/** The methods of a Queue on which BullMQ's getWorkers() is built, in versions 5 and 6. */
interface ConnectionLister {
  clientName(): string;
  baseGetClients?(isWanted: (name?: string) => boolean): Promise<readonly Connection[]>;
}

/**
 * Returns how many workers are connected to a queue, or undefined where Redis does not say. BullMQ's getWorkers() finds
 * those in Node only: the others put the name of the queue into that of their connections as it is, not in base64.
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

/** Whether a connection has this name; a worker with a name of its own appends it, as `:w:<name>`. */
function isNamed(name: string | undefined, clientName: string): boolean {
  return name === clientName || name?.startsWith(`${clientName}:w:`) === true;
}

/**
 * Counts a worker of another language by its connection that waits for jobs, because a worker in Python gives the
 * connection that runs its scripts the same name. Where none happens to wait, those that are connected count as one.
 */
function countWorkers(connections: readonly Connection[], otherName: string): number {
  const others = connections.filter(({ rawname }) => isNamed(rawname, otherName));
  const waiting = others.filter(({ cmd }) => cmd?.startsWith('eval') !== true);
  return connections.length - others.length + Math.max(waiting.length, Math.min(others.length, 1));
}
