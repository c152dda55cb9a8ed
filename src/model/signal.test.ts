import { constants } from 'node:os';
import { expect, test } from 'vitest';
import { signalNumber } from './signal.ts';

test('every signal of this system has the number that it has here', () => {
  for (const [name, number] of Object.entries(constants.signals)) {
    if (name !== 'SIGUNUSED') expect([name, signalNumber(name)]).toEqual([name, number]);
  }
});

test('what is no signal is refused', () => {
  for (const text of ['SIGFOO', '0', '65', 'RTMAX+1', 'constructor', ' ']) {
    expect(() => signalNumber(text)).toThrow(`Invalid signal: ${text}`);
  }
});
