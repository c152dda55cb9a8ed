import type { Secret } from '../../model/objects.ts';
import { head } from '../common.ts';

/** Never the data. */
export function convertSecret(secret: Secret) {
  const { Data: _, ...spec } = secret.spec;
  return { ...head(secret), Spec: spec };
}
