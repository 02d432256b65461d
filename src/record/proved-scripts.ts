/**
 * The add scripts of BullMQ, by the SHA-1 of their texts, whose effect the fast writer has been proved to equal, key by
 * key: by test/record/fast-writer.test.ts, or by `npm run verify-bullmq -- VERSION`, which prints these lines. With
 * each goes the list that takes the jobs of a paused queue.
 */
export const PROVED: ReadonlyMap<string, 'wait' | 'paused'> = new Map([
  // 5.79.2 to 5.80.0
  ['bfd61729215be0576f042b769c62fb7a01e31b6f', 'paused'],
  ['cc35cf3962e57cdee29a42c1d4935547bad86cb3', 'paused'],
  ['f91d9e6c66fd96e9664d274f6cb845fd62151572', 'paused'],
  // 5.80.6 to 5.81.5
  ['808626431266f2e834f108cac6b35ce556927132', 'paused'],
  ['eaca371bf33a8ee4389caf04e69d6d09a8fd12ba', 'paused'],
  ['7bd0d7e618ce59960988976ec6d8488190bfa1bf', 'paused'],
  // 6.5.1 to 6.5.4
  ['8fb5163d74bbb5a726c1d3a7db4d7e4a37be3eb3', 'wait'],
  ['825fa56cca22ec01221c678f2aa610da6dc38610', 'wait'],
  ['c55fc7559d55d176ad12465dd13bc186e37f3d01', 'wait'],
  // 6.7.0
  ['5ab432e88830d573e2fa33392ffbd4ad25a9b100', 'wait'],
  ['81698fd2d28e7db1787595b3c464b188fa78bdcf', 'wait'],
  ['299880da0f75f0b376ee8e87d20eae62f964ac5e', 'wait'],
]);
