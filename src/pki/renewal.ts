import { X509Certificate } from 'node:crypto';
import { fraction, type Random } from '../lib/random.ts';

/** When to renew: a random point in 50–80 % of the validity, so that nodes of one age do not all come at once. Ms since the epoch. */
export function renewalTime(certPem: string, random: Random): number {
  const cert = new X509Certificate(certPem);
  const from = Date.parse(cert.validFrom);
  const life = Date.parse(cert.validTo) - from;
  return from + life * (0.5 + 0.3 * fraction(random));
}
