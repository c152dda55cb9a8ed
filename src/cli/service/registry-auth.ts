import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ClusterError, messageOf } from '../../lib/errors.ts';
import type { Context } from '../context.ts';

/** The X-Registry-Auth header for an image, from Docker's own configuration file (`docker login` wrote it). */
export async function registryAuth(ctx: Context, image: string): Promise<string> {
  const dir = ctx.env['DOCKER_CONFIG'] ?? join(ctx.env['HOME'] ?? '/root', '.docker');
  const config = await readConfig(join(dir, 'config.json'));
  const registry = registryOf(image);
  const server = registry === 'docker.io' ? 'https://index.docker.io/v1/' : registry;
  const entry = config.auths?.[server] ?? config.auths?.[`https://${server}`];
  if (entry?.auth === undefined || entry.auth === '') {
    if ((config.credHelpers?.[server] ?? config.credsStore) !== undefined) {
      throw new ClusterError(
        'unimplemented',
        'credential helpers (credsStore, credHelpers) are not supported yet: use docker login without one',
      );
    }
    return encode({});
  }
  const [username = '', ...password] = Buffer.from(entry.auth, 'base64').toString('utf8').split(':');
  return encode({ username, password: password.join(':'), serveraddress: server });
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, { readonly auth?: string }>>;
  readonly credsStore?: string;
  readonly credHelpers?: Readonly<Record<string, string>>;
}

async function readConfig(file: string): Promise<DockerConfig> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    return {};
  }
  try {
    return JSON.parse(text) as DockerConfig;
  } catch (error) {
    throw new ClusterError('invalid', `cannot read ${file}: ${messageOf(error)}`);
  }
}

function registryOf(image: string): string {
  const first = image.split('/')[0] ?? '';
  const isHost = image.includes('/') && (first.includes('.') || first.includes(':') || first === 'localhost');
  return isHost ? first : 'docker.io';
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
