import { ClusterError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import { sameEndpoint, sameTaskSpec } from '../../model/equal.ts';
import { lookup } from '../../model/lookup.ts';
import type { Service } from '../../model/objects.ts';
import type { ServiceMode, ServiceSpec } from '../../model/spec.ts';
import { checkVersion, type Handler, unsupported } from './context.ts';
import { inventName, nameTaken } from './names.ts';
import { resolveReferences } from './references.ts';
import { checkServiceSpec } from './task-spec.ts';

export const createService: Handler<'service.create'> = async ({ store, random }, request) => {
  const id = newId(random);
  return store.transact((tx) => {
    const name = request.spec.Name || inventName(random, (candidate) => tx.serviceByName(candidate) !== undefined);
    const given = normal({ ...request.spec, Name: name });
    checkServiceSpec(given);
    if (tx.serviceByName(name) !== undefined) throw nameTaken('service', name);
    const { spec, warnings } = resolveReferences(tx, given);
    tx.create('service', { id, spec, specVersion: 1 });
    return { id, warnings };
  });
};

export const updateService: Handler<'service.update'> = async ({ store }, request) => {
  if (request.rollback) throw unsupported('service rollback is');
  const given = normal(request.spec);
  return store.transact((tx) => {
    const service = lookup(tx, 'service', request.id);
    checkVersion(service, request.version);
    checkImmutable(service, given);
    checkServiceSpec(given);
    const { spec, warnings } = resolveReferences(tx, given);
    tx.update('service', {
      id: service.id,
      spec,
      previousSpec: service.spec,
      specVersion: nextSpecVersion(service, spec),
    });
    return { warnings };
  });
};

export const removeService: Handler<'service.remove'> = async ({ store }, request) => {
  await store.transact((tx) => tx.remove('service', lookup(tx, 'service', request.id).id));
  return {};
};

/** Exactly one mode, and labels: what every reader relies on. */
function normal(spec: ServiceSpec): ServiceSpec {
  const hasMode = Object.values(spec.Mode ?? {}).some((value) => value !== undefined);
  return { ...spec, Labels: spec.Labels ?? {}, Mode: hasMode ? spec.Mode : { Replicated: { Replicas: 1 } } };
}

function checkImmutable(service: Service, spec: ServiceSpec): void {
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

/** Rises only when tasks made from the old spec are out of date: neither scaling nor a service label restarts anything. */
function nextSpecVersion(service: Service, spec: ServiceSpec): number {
  const same =
    sameTaskSpec(service.spec.TaskTemplate, spec.TaskTemplate) &&
    sameEndpoint(service.spec.EndpointSpec, spec.EndpointSpec);
  return same ? service.specVersion : service.specVersion + 1;
}
