/** Where the programs find Redis. */
export const place = {
  connection: { url: process.env.REDIS_URL ?? 'redis://localhost:6379' },
  prefix: process.env.PREFIX ?? 'bull',
};
