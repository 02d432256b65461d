import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { Frames, wordsOf } from './resp.js';

/** What a client says to get ready, and what it says to be asked for nothing: none of it changes a batch. */
const NOT_COUNTED =
  /^(hello|auth|select|info|client|ping|script|readonly|command|quit|subscribe|psubscribe|unsubscribe)$/i;
/** What BullMQ's workers wait with, on a connection of its own. */
const BLOCKING = /^(bzpopmin|bzpopmax|blpop|brpop|brpoplpush|blmove)$/i;

export interface HeldCommand {
  /** 1 for the first command since `countFrom()`. */
  readonly position: number;
  /** The name of the script, or of the command when it is none. */
  readonly name: string;
}

export interface HeldConnectionOptions {
  /** Also counts, and holds, what a worker's second connection waits with. Default: false. */
  readonly blocking?: boolean;
}

/** A command on its way to Redis. */
interface Command {
  readonly name: string;
  /** Of the script, when it is one. */
  readonly sha: string | undefined;
  readonly isBlocking: boolean;
  /** Undefined for what is not counted. */
  readonly position: number | undefined;
  /** It goes on with the command before: as a part of its transaction, or as its script that Redis did not know. */
  readonly isContinued: boolean;
  /** Its reply says what became of it. In a transaction, only that of the last one does. */
  readonly isLast: boolean;
}

/** One connection of the actor: what it sends waits here until it may go on. */
interface Link {
  readonly client: Socket;
  readonly redis: Socket;
  readonly commands: Frames;
  readonly replies: Frames;
  /** What Redis has not answered yet. */
  readonly unanswered: Command[];
  /** The positions of scripts that Redis did not know, and whose text will come, by their hash. */
  readonly unknownScripts: Map<string, number | undefined>;
  /** The position of the transaction that has begun. */
  transaction: { readonly position: number | undefined } | undefined;
  /** Whether a worker waits for jobs on it. */
  isBlocking: boolean;
  /** Nothing more is sent: it is cut with the next reply. */
  isLosing: boolean;
}

/**
 * A way to Redis on which a test can stop its actor before any of its commands, as if the process were frozen there, or
 * lose the reply to one of them. What counts as a command: a script (with its text sent again, where Redis did not know
 * it), a transaction, any other command; not what a connection says to get ready, and not the waiting of a worker.
 *
 * @example
 * const held = await testbed.heldConnection();
 * const batch = await testbed.queue('users', { connection: held.connection }).createBatch();
 * await held.idle();
 * held.countFrom();
 * held.holdBefore(1);
 * const sealing = batch.seal();
 * await held.heldOrEnded(sealing);   // { position: 1, name: 'seal' }
 * held.release();
 * await sealing;
 */
export class HeldConnection {
  readonly #target: { readonly host: string; readonly port: number };
  readonly #options: HeldConnectionOptions;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #connection: Redis | undefined;
  #names: string[] = [];
  #sent = 0;
  #holdAt: number | undefined;
  #loseAt: number | undefined;
  #hasLost = false;
  #isHeld = false;
  #onHeld: (command: HeldCommand) => void = () => {};
  #held: Promise<HeldCommand> = new Promise(() => {});

  constructor(target: { readonly host: string; readonly port: number }, options: HeldConnectionOptions) {
    this.#target = target;
    this.#options = options;
    this.#server = createServer((client) => this.#accept(client));
  }

  /** For a client of the test's own; scripts that only it knows have their hash for a name. */
  get address(): { readonly host: string; readonly port: number } {
    return { host: '127.0.0.1', port: (this.#server.address() as AddressInfo).port };
  }

  async open(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#connection = new Redis({
      ...this.#target,
      ...this.address,
      maxRetriesPerRequest: null,
      retryStrategy: () => 1,
    });
    this.#connection.on('error', () => {});
    await once(this.#connection, 'ready');
  }

  /** For the actor's queues, or its BatchWorker: `{ connection: held.connection }`. */
  get connection(): Redis {
    if (this.#connection === undefined) {
      throw new Error('The held connection is not open.');
    }
    return this.#connection;
  }

  /** The names of the commands that were sent since `countFrom()`; the one that is held is not yet among them. */
  get commands(): readonly string[] {
    return this.#names;
  }

  /** Whether the reply that was to be lost has been lost. */
  get hasLost(): boolean {
    return this.#hasLost;
  }

  /** The next command is the first one. Everything that was sent before should have been answered: see `idle()`. */
  countFrom(): void {
    this.release();
    this.#names = [];
    this.#loseAt = undefined;
    this.#hasLost = false;
  }

  /** The actor stops before this command, the first being 1, until it is released; one that is held goes on to it. */
  holdBefore(position: number): void {
    this.#holdAt = position;
    this.#held = new Promise((resolve) => {
      this.#onHeld = resolve;
    });
    this.#goOn();
  }

  /** Redis executes this command, and the connection is cut instead of delivering the reply. */
  loseReply(position: number): void {
    this.#loseAt = position;
  }

  /** Resolves when the actor is held, or with undefined when it has ended, and is quiet, without having come so far. */
  async heldOrEnded(actor: Promise<unknown>): Promise<HeldCommand | undefined> {
    const ended = async () => {
      await actor.catch(() => {});
      await this.idle();
      return undefined;
    };
    return Promise.race([this.#held, ended()]);
  }

  /** Lets the actor go on, and holds it no more. */
  release(): void {
    this.#holdAt = undefined;
    this.#goOn();
  }

  #goOn(): void {
    this.#isHeld = false;
    for (const link of this.#links) {
      this.#send(link);
    }
  }

  /**
   * Resolves when the actor does nothing but wait: all that it sent was answered, nothing follows from the answers, and
   * if it is a worker it waits for its next job.
   */
  async idle(): Promise<void> {
    for (;;) {
      const before = this.#sent;
      // What follows from an answer is sent before the second ping, on the same connection: it has arrived when that
      // has.
      await this.connection.ping();
      await nextTurn();
      await this.connection.ping();
      const links = [...this.#links];
      const isQuiet = links.every(
        ({ isBlocking, unanswered }) => !isBlocking || unanswered.some((command) => command.isBlocking),
      );
      if (this.#sent === before && isQuiet) {
        return;
      }
    }
  }

  /** Resolves when a worker on this connection waits for its next job. */
  async waiting(): Promise<void> {
    while (![...this.#links].some(({ isBlocking }) => isBlocking)) {
      await this.connection.ping();
    }
    await this.idle();
  }

  async close(): Promise<void> {
    this.release();
    this.#connection?.disconnect();
    this.#server.close();
    for (const { client, redis } of this.#links) {
      client.destroy();
      redis.destroy();
    }
  }

  /** Holds for ever whatever still uses the connection, which stays open but keeps no process from ending. */
  freeze(): void {
    this.#isHeld = true;
    this.#server.close();
    for (const { client, redis } of this.#links) {
      client.unref();
      redis.unref();
    }
  }

  #accept(client: Socket): void {
    const redis = connect(this.#target.port, this.#target.host);
    const link: Link = {
      client,
      redis,
      commands: new Frames(),
      replies: new Frames(),
      unanswered: [],
      unknownScripts: new Map(),
      transaction: undefined,
      isBlocking: false,
      isLosing: false,
    };
    this.#links.add(link);
    for (const socket of [client, redis]) {
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => this.#cut(link));
    }
    client.on('data', (data) => {
      link.commands.push(data);
      this.#send(link);
    });
    redis.on('data', (data) => {
      link.replies.push(data);
      this.#answer(link);
    });
  }

  #cut(link: Link): void {
    this.#links.delete(link);
    link.client.destroy();
    link.redis.destroy();
  }

  /** Sends on what may go on. */
  #send(link: Link): void {
    for (let frame = link.commands.peek(); frame !== undefined && !link.isLosing; frame = link.commands.peek()) {
      const command = this.#read(link, wordsOf(frame));
      if (!this.#maySend(command)) {
        return;
      }
      this.#note(link, command);
      link.commands.take();
      link.redis.write(frame);
    }
  }

  /** What a command would be if it were sent now. */
  #read(link: Link, [word = '', text = '']: readonly string[]): Command {
    const isScript = /^eval(sha)?(_ro)?$/i.test(word);
    const sha = isScript ? (/sha/i.test(word) ? text : sha1(text)) : undefined;
    const isBlocking = BLOCKING.test(word);
    const isCounted = !NOT_COUNTED.test(word) && (!isBlocking || this.#options.blocking === true);
    const isKnown = sha !== undefined && link.unknownScripts.has(sha);
    const isContinued = link.transaction !== undefined || isKnown;
    const before = isKnown ? link.unknownScripts.get(sha) : link.transaction?.position;
    return {
      name: sha === undefined ? word.toLowerCase() : this.#nameOf(sha),
      sha,
      isBlocking,
      position: isContinued ? before : isCounted ? this.#names.length + 1 : undefined,
      isContinued,
      isLast: !/^multi$/i.test(word) && (link.transaction === undefined || /^(exec|discard)$/i.test(word)),
    };
  }

  #maySend({ name, position, isBlocking, isContinued }: Command): boolean {
    if (isContinued || (position === undefined && !isBlocking)) {
      return true;
    }
    if (!this.#isHeld && position !== undefined && position === this.#holdAt) {
      this.#isHeld = true;
      this.#stopWaiting()
        .then(() => this.#answered())
        .then(() => this.#onHeld({ position, name }));
    }
    return !this.#isHeld;
  }

  /** A frozen worker takes no jobs: what it took would be kept from the other workers for seconds. */
  async #stopWaiting(): Promise<void> {
    const waiting = [...this.#links].filter(({ unanswered }) => unanswered.some(({ isBlocking }) => isBlocking));
    const closed = waiting.map(async (link) => {
      const isClosed = once(link.redis, 'close');
      // Redis closes its side when it has stopped waiting. The client connects again, and waits here.
      link.redis.end();
      await isClosed;
    });
    await Promise.all(closed);
  }

  /** Resolves when Redis has done what was sent before the command that is held: the others must not overtake it. */
  async #answered(): Promise<void> {
    while ([...this.#links].some(({ unanswered }) => unanswered.some(({ isBlocking }) => !isBlocking))) {
      await nextTurn();
    }
  }

  #note(link: Link, command: Command): void {
    const { name, sha, position, isContinued, isBlocking, isLast } = command;
    if (position !== undefined) {
      this.#sent += 1;
      if (!isContinued) {
        this.#names.push(name);
      }
    }
    if (sha !== undefined) {
      link.unknownScripts.delete(sha);
    }
    link.transaction = isLast ? undefined : (link.transaction ?? { position });
    link.isBlocking ||= isBlocking;
    link.isLosing = isLast && position !== undefined && position === this.#loseAt && !this.#hasLost;
    link.unanswered.push(command);
  }

  #answer(link: Link): void {
    for (let reply = link.replies.take(); reply !== undefined; reply = link.replies.take()) {
      const command = link.unanswered.shift();
      const isUnknown = command?.sha !== undefined && reply.subarray(0, 9).toString('latin1') === '-NOSCRIPT';
      if (isUnknown && !link.transaction) {
        link.unknownScripts.set(command.sha, command.position);
      } else if (link.isLosing && command?.isLast && command.position === this.#loseAt) {
        this.#hasLost = true;
        this.#cut(link);
        return;
      }
      link.client.write(reply);
      if (isUnknown && link.isLosing) {
        link.isLosing = false;
        this.#send(link);
      }
    }
  }

  /** The name under which the actor's client knows a script, without what tells its versions apart. */
  #nameOf(sha: string): string {
    const scripts = (this.connection as unknown as { scriptsSet: Record<string, { sha: string }> }).scriptsSet;
    const [name = sha] = Object.entries(scripts).find(([, script]) => script.sha === sha) ?? [];
    return name.replace(/^bullmqBatches_/, '').replace(/(_[0-9a-f]{8}|:[\d.]+)$/, '');
  }
}

function sha1(text: string): string {
  return createHash('sha1').update(text).digest('hex');
}
