/** The host's resolvers, from its resolv.conf. */
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import type { Clock } from '../../../lib/clock.ts';

const lookAgainMs = 1_000;

/** Reads the file when it changed, at most once a second, when somebody asks. A file that is gone or broken has no resolvers. */
export class HostResolvers {
  readonly #path: string;
  readonly #clock: Clock;
  #version = '';
  #lookedAt = Number.NEGATIVE_INFINITY;
  #resolvers: readonly string[] = [];

  constructor(path: string, clock: Clock) {
    this.#path = path;
    this.#clock = clock;
  }

  get(): readonly string[] {
    const now = this.#clock.monotonic();
    if (now - this.#lookedAt >= lookAgainMs) {
      this.#lookedAt = now;
      this.#look();
    }
    return this.#resolvers;
  }

  #look(): void {
    try {
      const { ino, size, mtimeMs } = statSync(this.#path);
      const version = [ino, size, mtimeMs].join(' ');
      if (version === this.#version) return;
      this.#resolvers = resolversOf(readFileSync(this.#path, 'utf8'));
      this.#version = version;
    } catch {
      this.#resolvers = [];
      this.#version = '';
    }
  }
}

export function resolversOf(text: string): readonly string[] {
  return text.split('\n').flatMap((line) => {
    const [word, address = ''] = line.trim().split(/\s+/);
    return word === 'nameserver' && isIP(address.split('%')[0] ?? '') !== 0 ? [address] : [];
  });
}
