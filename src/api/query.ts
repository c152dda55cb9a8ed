import type { FastifyRequest } from 'fastify';
import { ClusterError } from '../lib/errors.ts';

/** A query parameter; of repeated ones the first. */
export function param(request: FastifyRequest, name: string): string {
  const value = (request.query as Readonly<Record<string, unknown>>)[name];
  const first: unknown = Array.isArray(value) ? value[0] : value;
  return typeof first === 'string' ? first : '';
}

/** Docker's rule for flags: everything but these is true. */
export function flag(request: FastifyRequest, name: string): boolean {
  const value = param(request, name).trim().toLowerCase();
  return !(value === '' || value === '0' || value === 'no' || value === 'false' || value === 'none');
}

export function versionParam(request: FastifyRequest, noun: string): number {
  const text = param(request, 'version');
  if (!/^\d{1,16}$/.test(text)) throw new ClusterError('invalid', `invalid ${noun} version '${text}'`);
  return Number(text);
}

/** The `:id` of the path. */
export function pathId(request: FastifyRequest): string {
  const id = (request.params as Readonly<Record<string, unknown>>)['id'];
  return typeof id === 'string' ? id : '';
}

const timePattern = /^(\d{1,12})(?:\.(\d{1,9}))?$/;

/** `seconds[.nanoseconds]` or RFC 3339, as milliseconds; 0 when absent. */
export function timeParam(request: FastifyRequest, name: string): number {
  const text = param(request, name);
  if (text === '' || text === '0') return 0;
  const parsed = parseTime(text);
  if (parsed === undefined)
    throw new ClusterError('invalid', `invalid value for "${name}": ${JSON.stringify(text)} is not a time`);
  return parsed;
}

/** The same forms; undefined for anything else. */
export function parseTime(text: string): number | undefined {
  const match = timePattern.exec(text);
  if (match !== null) return Number(match[1]) * 1000 + Math.floor(Number((match[2] ?? '').padEnd(9, '0')) / 1e6);
  const parsed = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(parsed) ? undefined : parsed;
}
