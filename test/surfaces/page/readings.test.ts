import { inTime, NoAnswer, Readings } from '../../../src/surfaces/page/readings.js';
import { expect, gate, test } from '../../support/test.js';

test('what is being read is read once for everybody who asks', async () => {
  const readings = new Readings();
  const { opened, open } = gate();
  let times = 0;
  const read = async () => {
    times++;
    await opened;
    return 'tree';
  };
  const both = Promise.all([readings.read('a', read), readings.read('a', read)]);
  open();
  expect(await both).toEqual(['tree', 'tree']);
  expect(times).toBe(1);
});

test('readings of different keys have nothing to do with each other', async () => {
  const readings = new Readings();
  expect(await readings.read('a', async () => 1)).toBe(1);
  expect(await readings.read('b', async () => 2)).toBe(2);
});

test('a reading that failed is told to those who asked, and is not kept', async () => {
  const readings = new Readings();
  const failing = () => Promise.reject(new Error('away'));
  await expect(readings.read('a', failing)).rejects.toThrow('away');
  expect(await readings.read('a', async () => 'back')).toBe('back');
});

test('inTime() gives up on what never comes, and tells results and errors of what does', async () => {
  await expect(inTime(new Promise(() => {}), 5)).rejects.toThrow(NoAnswer);
  expect(await inTime(Promise.resolve(7), 10_000)).toBe(7);
  await expect(inTime(Promise.reject(new Error('no')), 10_000)).rejects.toThrow('no');
});
