/** The Go templates that Swarm expands in environment, hostname and mounts. Pure; anything else in `{{ }}` is refused. */
import { ClusterError } from '../lib/errors.ts';

export interface TemplateContext {
  readonly Service: { readonly ID: string; readonly Name: string; readonly Labels: Readonly<Record<string, string>> };
  readonly Node: {
    readonly ID: string;
    readonly Hostname: string;
    readonly Platform: { readonly Architecture: string; readonly OS: string };
  };
  readonly Task: { readonly ID: string; readonly Name: string; readonly Slot: string };
}

const action = /\{\{-?\s*((?:"(?:[^"\\]|\\.)*"|`[^`]*`|(?!\}\}).)*?)\s*-?\}\}/gs;

/** Expands `text`; `what` names the field in the error, Docker's `expanding env failed`. */
export function expandTemplate(text: string, context: TemplateContext, what: string): string {
  if (!text.includes('{{')) return text;
  const expanded = text.replace(action, (_all, inside: string) => evaluate(inside, context, what));
  if (/\{\{/.test(text.replace(action, ''))) throw refused(what, 'unclosed action');
  return expanded;
}

function evaluate(expression: string, context: TemplateContext, what: string): string {
  if (/^\.[A-Za-z_][\w.]*$/.test(expression)) {
    return asText(walk(context, expression.slice(1).split('.'), what), expression, what);
  }
  const index = /^index\s+\.([A-Za-z_][\w.]*)\s+(?:"((?:[^"\\]|\\.)*)"|`([^`]*)`)$/.exec(expression);
  if (index?.[1] !== undefined) {
    const value = walk(context, index[1].split('.'), what);
    const key = index[2]?.replace(/\\(.)/g, '$1') ?? index[3] ?? '';
    if (typeof value !== 'object' || value === null) throw refused(what, `cannot index .${index[1]}`);
    return Object.hasOwn(value, key) ? String((value as Record<string, unknown>)[key]) : '';
  }
  const literal = /^(?:"((?:[^"\\]|\\.)*)"|`([^`]*)`)$/.exec(expression);
  if (literal !== null) return literal[1]?.replace(/\\(.)/g, '$1') ?? literal[2] ?? '';
  throw refused(what, `unsupported template {{${expression}}}`);
}

function walk(context: TemplateContext, path: readonly string[], what: string): unknown {
  let value: unknown = context;
  for (const [at, name] of path.entries()) {
    const labels = at === 2 && path[0] === 'Service' && path[1] === 'Labels';
    if (typeof value !== 'object' || value === null || (!Object.hasOwn(value, name) && !labels)) {
      throw refused(what, `can't evaluate field ${name} in {{.${path.join('.')}}}`);
    }
    value = Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : '';
  }
  return value;
}

function asText(value: unknown, expression: string, what: string): string {
  if (typeof value === 'string') return value;
  throw refused(what, `{{${expression}}} is not a text`);
}

function refused(what: string, reason: string): ClusterError {
  return new ClusterError('invalid', `expanding ${what} failed: ${reason}`);
}
