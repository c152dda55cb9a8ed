import { ClusterError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { RegistryAuthUpdate } from '../../model/control.ts';
import { jobStatusAfter } from '../../model/job.ts';
import { lookup } from '../../model/lookup.ts';
import type { Service } from '../../model/objects.ts';
import { fixedHostPortsOf } from '../../model/ports.ts';
import { parseRegistryAuth, registryAuthFor } from '../../model/registry-auth.ts';
import { revisionsOf } from '../../model/revisions.ts';
import type { ServiceMode, ServiceSpec } from '../../model/spec.ts';
import { manualRollbackMessage, respecced, rolledBack } from '../../model/update.ts';
import type { Store, Transaction } from '../store/port.ts';
import { restAddresses } from '../store/resting.ts';
import { dropRevisions, keepRevision } from '../store/revisions.ts';
import { checkVersion, type Handler, invalid } from './context.ts';
import { inventName, nameTaken } from './names.ts';
import { resolveReferences } from './references.ts';
import { checkServiceSpec } from './task-spec.ts';

export const createService: Handler<'service.create'> = async ({ store, random }, request) => {
  const id = newId(random);
  const auth = givenAuth(request.registryAuth);
  return store.transact((tx) => {
    const name = request.spec.Name || inventName(random, (candidate) => tx.serviceByName(candidate) !== undefined);
    const given = normal({ ...request.spec, Name: name });
    checkServiceSpec(given);
    if (tx.serviceByName(name) !== undefined) throw nameTaken('service', name);
    const spec = resolveReferences(tx, given);
    const registryAuth = auth === undefined ? {} : { registryAuth: auth };
    tx.create('service', { id, spec, specVersion: 1, ...registryAuth, ...jobStatusAfter(undefined, spec, tx.now) });
    return { id, warnings: updateWarnings(spec) };
  });
};

export const updateService: Handler<'service.update'> = async ({ store }, request) => {
  if (request.rollback) return rollBack(store, request, previousOf);
  const given = normal(request.spec);
  const auth = givenAuth(request.registryAuth);
  return store.transact((tx) => {
    const service = lookup(tx, 'service', request.id);
    checkVersion(service, request.version);
    checkImmutable(service, given);
    checkServiceSpec(given);
    const spec = resolveReferences(tx, given, service.id);
    const draft = respecced(service, spec, tx.now, auth ?? keptAuth(service, spec, request.registryAuthFrom));
    if (draft.revision !== service.revision) keepRevision(tx, service);
    tx.update('service', draft);
    return { warnings: updateWarnings(spec) };
  });
};

/** Credentials that can be read; undefined when there are none. */
function givenAuth(header = ''): string | undefined {
  return parseRegistryAuth(header) === undefined ? undefined : header;
}

function keptAuth(
  service: Service,
  spec: ServiceSpec,
  from: RegistryAuthUpdate['registryAuthFrom'],
): string | undefined {
  const { previousSpec, previousRegistryAuth } = service;
  // As though the service still were what it was before.
  const holder =
    from !== 'previous-spec' || previousSpec === undefined
      ? service
      : { spec: previousSpec, ...(previousRegistryAuth === undefined ? {} : { registryAuth: previousRegistryAuth }) };
  return registryAuthFor(holder, spec.TaskTemplate.ContainerSpec.Image);
}

export const rollbackService: Handler<'service.rollback'> = async ({ store }, request) =>
  rollBack(store, request, (tx, service) => revisionOf(tx, service, request.to));

/** The spec that is gone back to is checked like any other: what it refers to may be gone. */
function rollBack(
  store: Store,
  request: { readonly id: string; readonly version: number; readonly registryAuth?: string },
  choose: (tx: Transaction, service: Service) => ServiceSpec,
): Promise<{ warnings: string[] }> {
  const auth = givenAuth(request.registryAuth);
  return store.transact((tx) => {
    const service = lookup(tx, 'service', request.id);
    checkVersion(service, request.version);
    const spec = resolveReferences(tx, choose(tx, service), service.id);
    keepRevision(tx, service);
    const rollback = { spec, message: manualRollbackMessage, startedAt: tx.now, by: 'user' } as const;
    const draft = rolledBack(service, rollback, tx.now);
    tx.update('service', auth === undefined ? draft : { ...draft, registryAuth: auth });
    return { warnings: updateWarnings(spec) };
  });
}

function previousOf(_tx: Transaction, { spec, previousSpec }: Service): ServiceSpec {
  if (previousSpec === undefined) throw invalid(`service ${spec.Name} does not have a previous spec`);
  return previousSpec;
}

/** As it was, but for how many tasks are wanted: who goes back to older code does not mean older load. */
function revisionOf(tx: Transaction, service: Service, number: number): ServiceSpec {
  const { Name, Mode } = service.spec;
  if (number === (service.revision ?? 1)) throw invalid(`service ${Name} is at revision ${number}`);
  const kept = revisionsOf(tx, service.id);
  const found = kept.find((revision) => revision.number === number);
  if (found !== undefined) return { ...found.spec, Mode };
  const numbers = kept.map((revision) => revision.number).join(', ');
  const rest = kept.length === 0 ? 'there is no earlier one' : `kept are ${numbers}`;
  throw new ClusterError('not_found', `service ${Name} has no revision ${number}: ${rest}`);
}

/** What is accepted, but may not do what is hoped for. */
export function updateWarnings({ UpdateConfig, EndpointSpec }: ServiceSpec): string[] {
  if (UpdateConfig?.Order !== 'start-first' || fixedHostPortsOf(EndpointSpec).length === 0) return [];
  return ['update order start-first with host-mode ports: a new task can only start on a node that has none yet'];
}

export const removeService: Handler<'service.remove'> = async ({ store }, request) => {
  await store.transact((tx) => {
    const { id, endpoint } = lookup(tx, 'service', request.id);
    dropRevisions(tx, id);
    restAddresses(tx, endpoint?.vips ?? []);
    tx.remove('service', id);
  });
  return {};
};

/** Exactly one mode, and labels: what every reader relies on. */
export function normal(spec: ServiceSpec): ServiceSpec {
  const hasMode = Object.values(spec.Mode ?? {}).some((value) => value !== undefined);
  return { ...spec, Labels: spec.Labels ?? {}, Mode: hasMode ? spec.Mode : { Replicated: { Replicas: 1 } } };
}

export function checkImmutable(service: Service, spec: ServiceSpec): void {
  if (spec.Name !== service.spec.Name) {
    throw new ClusterError('unimplemented', 'renaming services is not supported');
  }
  if (modeOf(spec.Mode) !== modeOf(service.spec.Mode)) {
    throw new ClusterError('unimplemented', 'service mode change is not allowed');
  }
}

function modeOf(mode: ServiceMode): string {
  return Object.entries(mode).find(([, value]) => value !== undefined)?.[0] ?? 'Replicated';
}
