import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface CutConnection {
  readonly connection: { readonly host: string; readonly port: number };
  /**
   * From now on: 'answer' lets commands arrive and cuts the connection instead of answering; 'command' cuts it before.
   */
  lose(what: 'answer' | 'command' | undefined): void;
  close(): Promise<void>;
}

/** A way to Redis that loses what the test wants to be lost. */
export async function cutConnection(target: { host: string; port: number }): Promise<CutConnection> {
  let lost: 'answer' | 'command' | undefined;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const redis = connect(target.port, target.host);
    for (const socket of [client, redis]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        redis.destroy();
      });
    }
    client.on('data', (data) => (lost === 'command' ? client.destroy() : redis.write(data)));
    redis.on('data', (data) => (lost === 'answer' ? client.destroy() : client.write(data)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    connection: { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
    lose(what) {
      lost = what;
    },
    async close() {
      server.close();
      for (const socket of sockets) {
        socket.destroy();
      }
    },
  };
}
