/** The Go templates that agents expand in hostname, environment and mounts: a bad one is refused when the service is written. */
import type { ContainerSpec } from '../../model/spec.ts';
import { invalid } from './context.ts';

const fields = [
  /^\.Service\.(?:ID|Name|Labels\.[A-Za-z_]\w*)$/,
  /^\.Node\.(?:ID|Hostname|Platform\.(?:OS|Architecture))$/,
  /^\.Task\.(?:ID|Name|Slot)$/,
  /^index\s+\.Service\.Labels\s+(?:"[^"\\]*"|`[^`]*`)$/,
  /^(?:"[^"\\]*"|`[^`]*`)$/,
];

export function checkTemplates(spec: ContainerSpec): void {
  checkTemplate('hostname', spec.Hostname ?? '');
  for (const variable of spec.Env ?? []) checkTemplate('env', variable);
  for (const mount of spec.Mounts ?? []) {
    checkTemplate('mounts', mount.Source ?? '');
    checkTemplate('mounts', mount.Target);
  }
}

function checkTemplate(what: string, text: string): void {
  for (const part of text.split('{{').slice(1)) {
    const end = part.indexOf('}}');
    if (end < 0) throw invalid(`expanding ${what} failed: unclosed action`);
    const action = part.slice(0, end).replace(/^-\s/, '').replace(/\s-$/, '').trim();
    if (!fields.some((field) => field.test(action))) {
      throw invalid(`expanding ${what} failed: unsupported template {{${action}}}`);
    }
  }
}
