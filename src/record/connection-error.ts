const CLIENT_MESSAGES =
  /^Connection is closed|^Command timed out|^Command aborted|max retries per request|isn't writeable|^Socket|^Connection timeout|^The client is closed/i;

/**
 * Whether an error leaves open what became of the command, as a cut connection or a timeout does. Any other error is an
 * answer of Redis, or was thrown before anything was sent. The clients have no class for such errors: ioredis and
 * node-redis show them by their messages, and Node by the code of the system call.
 */
export function isConnectionError(error: unknown): boolean {
  const { message = '', code } = error instanceof Error ? (error as NodeJS.ErrnoException) : {};
  return typeof code === 'string' ? /^E[A-Z]+$|^UND_ERR/.test(code) : CLIENT_MESSAGES.test(message);
}
