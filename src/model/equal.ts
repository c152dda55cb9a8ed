/** Equality of specs as users mean it: an absent key, null, an empty string, list or map are the same; key order does not count. */
import { publishMode } from './ports.ts';
import type { EndpointSpec, TaskSpec } from './spec.ts';

export function sameSpec(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (isEmpty(a)) return isEmpty(b);
  if (Array.isArray(a))
    return Array.isArray(b) && a.length === b.length && a.every((item, at) => sameSpec(item, b[at]));
  if (isMap(a))
    return isMap(b) && [...new Set([...Object.keys(a), ...Object.keys(b)])].every((key) => sameSpec(a[key], b[key]));
  return false;
}

/** True when tasks made from `a` need not be replaced for `b`. */
export function sameTaskSpec(a: TaskSpec, b: TaskSpec): boolean {
  return sameSpec(normal(a), normal(b));
}

/**
 * True when tasks made with `a` need not be replaced for `b`. Only ports of hosts are the tasks' own: what every node answers, and
 * what a name leads to, is outside of the containers and changes under them.
 */
export function sameEndpoint(a: EndpointSpec | undefined, b: EndpointSpec | undefined): boolean {
  return sameSpec(normalEndpoint(a), normalEndpoint(b));
}

function normal(spec: TaskSpec): TaskSpec {
  return { ...spec, ForceUpdate: spec.ForceUpdate ?? 0, Runtime: spec.Runtime || 'container' };
}

function normalEndpoint(spec: EndpointSpec | undefined): EndpointSpec {
  const onHosts = (spec?.Ports ?? []).filter((port) => publishMode(port) === 'host');
  return { Ports: onHosts.map((port) => ({ ...port, Protocol: port.Protocol || 'tcp' })) };
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '') return true;
  if (Array.isArray(value)) return value.length === 0;
  return isMap(value) && Object.values(value).every(isEmpty);
}
