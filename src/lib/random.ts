/** Chance as a port: the daemon draws from the system, the simulator from its seed. */
export interface Random {
  /** Uniform in 0 … 2^32−1. */
  uint32(): number;
  /** `length` random bytes; cryptographic in production. */
  bytes(length: number): Uint8Array;
}

/** Uniform in [0, 1). */
export function fraction(random: Random): number {
  return random.uint32() / 2 ** 32;
}

/** Uniform integer in [low, high]. */
export function between(random: Random, low: number, high: number): number {
  return low + Math.floor(fraction(random) * (high - low + 1));
}

/** A deterministic generator (sfc32) for tests and the simulator: same seed, same draws, on every machine. */
export function seededRandom(seed: number): Random {
  let a = 0x9e3779b9 | 0;
  let b = seed | 0;
  let c = Math.floor(seed / 2 ** 32) | 0;
  let counter = 1;
  const uint32 = () => {
    const t = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return t >>> 0;
  };
  for (let round = 0; round < 15; round++) uint32();
  return {
    uint32,
    bytes(length) {
      const bytes = new Uint8Array(length);
      for (let at = 0; at < length; at++) bytes[at] = uint32() & 0xff;
      return bytes;
    },
  };
}
