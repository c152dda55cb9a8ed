/** What conversion starts from, and how a stack's objects are named and labelled. */
import type { Pairs, StackFile } from './document.ts';

export const namespaceLabel = 'com.docker.stack.namespace';
export const imageLabel = 'com.docker.stack.image';

export interface ConvertInput {
  readonly stack: string;
  readonly file: StackFile;
  /** Contents by absolute path, for secrets, configs. */
  readonly contents: ReadonlyMap<string, Uint8Array>;
  /** The command's environment: values of names without one. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Variables of each service's `env_file`s. */
  readonly envFiles: Readonly<Record<string, Readonly<Record<string, string | null>>>>;
}

/** `<stack>_<name>`, or the name that the file gives. */
export function scopedName(
  stack: string,
  key: string,
  entry: { readonly name?: string; readonly external?: boolean } | undefined,
): string {
  return entry?.name ?? (entry?.external === true ? key : `${stack}_${key}`);
}

export function stackLabels(stack: string, labels: Pairs | undefined): Pairs {
  return { ...labels, [namespaceLabel]: stack };
}
