import type { Config } from '../../model/objects.ts';
import { head } from '../common.ts';

export function convertConfig(config: Config) {
  return { ...head(config), Spec: config.spec };
}
