import { Redis } from 'ioredis';

/**
 * Makes this process kill itself with SIGKILL just before it sends its n-th script: between any two commands is a place
 * where a crash can happen, and every n is one of them.
 */
export function dieBeforeScript(n: number): void {
  const send = Redis.prototype.sendCommand;
  let scripts = 0;
  Redis.prototype.sendCommand = function (command, stream) {
    if (/^eval/i.test(command.name) && ++scripts === n) {
      process.kill(process.pid, 'SIGKILL');
    }
    return send.call(this, command, stream);
  };
}
