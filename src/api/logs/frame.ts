/** Docker's multiplexed log stream: one frame per line, header = stream, three zeros, big-endian length. */
const streams = { stdout: 1, stderr: 2, systemError: 3 } as const;

export function frame(stream: keyof typeof streams, payload: Buffer): Buffer {
  const whole = Buffer.alloc(8 + payload.length);
  whole[0] = streams[stream];
  whole.writeUInt32BE(payload.length, 4);
  payload.copy(whole, 8);
  return whole;
}
