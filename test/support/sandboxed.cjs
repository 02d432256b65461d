/** A processor that BullMQ runs in a process of its own. */
module.exports = async (job) => `ran ${job.name}`;
