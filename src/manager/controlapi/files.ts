/** Secrets and configs: made once, only their labels change, and nothing in use is removed. */
import { ClusterError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import { sameSpec } from '../../model/equal.ts';
import { lookup } from '../../model/lookup.ts';
import type { Service } from '../../model/objects.ts';
import type { ConfigSpec, SecretSpec } from '../../model/spec.ts';
import { checkVersion, type Handler, invalid, unsupported } from './context.ts';
import { checkFileName, nameTaken } from './names.ts';

const secretBytesLimit = 512_000;
const configBytesLimit = 1_024_000;

export const createSecret: Handler<'secret.create'> = async ({ store, random }, { spec }) => {
  checkFileName(spec.Name);
  if (spec.Driver !== undefined) throw unsupported('secret drivers are');
  if (spec.Templating !== undefined) throw unsupported('templates in secrets are');
  checkData('secret', spec.Data, secretBytesLimit);
  const id = newId(random);
  await store.transact((tx) => {
    if (tx.secretByName(spec.Name) !== undefined) throw nameTaken('secret', spec.Name);
    tx.create('secret', { id, spec: { Name: spec.Name, Labels: spec.Labels ?? {}, Data: spec.Data } });
  });
  return { id };
};

export const createConfig: Handler<'config.create'> = async ({ store, random }, { spec }) => {
  checkFileName(spec.Name);
  if (spec.Templating !== undefined) throw unsupported('templates in configs are');
  checkData('config', spec.Data, configBytesLimit);
  const id = newId(random);
  await store.transact((tx) => {
    if (tx.configByName(spec.Name) !== undefined) throw nameTaken('config', spec.Name);
    tx.create('config', { id, spec: { Name: spec.Name, Labels: spec.Labels ?? {}, Data: spec.Data } });
  });
  return { id };
};

export const updateSecret: Handler<'secret.update'> = async ({ store }, request) => {
  await store.transact((tx) => {
    const secret = lookup(tx, 'secret', request.id);
    checkVersion(secret, request.version);
    checkLabelsOnly(secret.spec, request.spec);
    tx.update('secret', { id: secret.id, spec: { ...secret.spec, Labels: request.spec.Labels ?? {} } });
  });
  return {};
};

export const updateConfig: Handler<'config.update'> = async ({ store }, request) => {
  await store.transact((tx) => {
    const config = lookup(tx, 'config', request.id);
    checkVersion(config, request.version);
    checkLabelsOnly(config.spec, request.spec);
    tx.update('config', { id: config.id, spec: { ...config.spec, Labels: request.spec.Labels ?? {} } });
  });
  return {};
};

export const removeSecret: Handler<'secret.remove'> = async ({ store }, request) => {
  await store.transact((tx) => {
    const secret = lookup(tx, 'secret', request.id);
    checkUnused('secret', secret.spec.Name, tx.servicesUsingSecret(secret.id));
    tx.remove('secret', secret.id);
  });
  return {};
};

export const removeConfig: Handler<'config.remove'> = async ({ store }, request) => {
  await store.transact((tx) => {
    const config = lookup(tx, 'config', request.id);
    checkUnused('config', config.spec.Name, tx.servicesUsingConfig(config.id));
    tx.remove('config', config.id);
  });
  return {};
};

function checkData(kind: string, data: string, limit: number): void {
  const bytes = Buffer.from(data ?? '', 'base64').length;
  if (bytes === 0 || bytes >= limit) {
    throw invalid(`${kind} data must be larger than 0 and less than ${limit} bytes`);
  }
}

/** Clients send everything back; absent data means unchanged, as readers of secrets never see it. */
function checkLabelsOnly(stored: SecretSpec | ConfigSpec, given: SecretSpec | ConfigSpec): void {
  const { Labels: _, Data: storedData, ...storedRest } = stored;
  const { Labels: __, Data: givenData, ...givenRest } = given;
  const sameData = !givenData || Buffer.from(givenData, 'base64').equals(Buffer.from(storedData, 'base64'));
  if (!sameData || !sameSpec(storedRest, givenRest)) throw invalid('only updates to Labels are allowed');
}

function checkUnused(kind: string, name: string, users: Iterable<Service>): void {
  const names = [...users].map((service) => service.spec.Name);
  if (names.length === 0) return;
  const services = `${names.length > 1 ? 'services' : 'service'}: ${names.join(', ')}`;
  throw new ClusterError('failed_precondition', `${kind} '${name}' is in use by the following ${services}`);
}
