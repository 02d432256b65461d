/** What the file of both programs has in it: organizations with their users. */
export const FILE: Readonly<Record<string, readonly string[]>> = {
  Acme: ['ada', 'grace'],
  Initech: ['bill', 'mallory', 'peter'],
};

/** Where the programs find Redis. */
export const place = {
  connection: { url: process.env.REDIS_URL ?? 'redis://localhost:6379' },
  prefix: process.env.PREFIX ?? 'bull',
};

export async function saveUser(user: string): Promise<{ user: string }> {
  if (user === 'mallory') throw new Error('no e-mail address');
  return { user };
}
