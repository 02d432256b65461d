/*
 * The ids in an import. They follow from its own id, so a step that runs twice adds nothing twice, and whoever knows
 * the import finds its parts.
 */

/** The batch of the users of the organization at this position. */
export const usersBatchId = (importId: string, position: number) => `${importId}-users-${position}`;

/** The CS job that follows a batch of users. */
export const csJobId = (usersBatchId: string) => `cs-after-${usersBatchId}`;

export const isCsJobId = (id: string) => id.startsWith('cs-after-');
