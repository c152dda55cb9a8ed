import { ConnectionError } from '../../client/errors.ts';
import type { Client } from '../../client/index.ts';
import type { Platform, ServiceSpec } from '../../model/spec.ts';

/** `nginx` → `nginx:latest`; references with a tag or digest stay. */
export function withDefaultTag(image: string): string {
  if (image === '' || image.includes('@')) return image;
  const last = image.slice(image.lastIndexOf('/') + 1);
  return last.includes(':') ? image : `${image}:latest`;
}

const digestPattern = /^sha256:[0-9a-f]{64}$/;

/**
 * Pins the image to what its tag stands for now, and notes the platforms it exists for. A registry that cannot be asked
 * is no error: each node then resolves the tag by itself, and `warn` gets Docker's notice.
 */
export async function pinImage(
  client: Client,
  spec: ServiceSpec,
  warn: (text: string) => void,
  registryAuth?: string,
): Promise<ServiceSpec> {
  const image = spec.TaskTemplate.ContainerSpec.Image;
  if (image.includes('@')) return spec;
  try {
    const answer = await client.distribution(image, registryAuth);
    const digest = answer.Descriptor?.digest ?? '';
    if (!digestPattern.test(digest)) throw new Error(`no digest in the answer`);
    const platforms = (answer.Platforms ?? []).map(platform);
    return withImage(spec, `${image}@${digest}`, platforms);
  } catch (error) {
    if (error instanceof ConnectionError) throw error;
    warn(
      `image ${image} could not be accessed on a registry to record\nits digest. Each node will access ${image} independently,\n` +
        'possibly leading to different nodes running different\nversions of the image.\n\n',
    );
    return spec;
  }
}

/** Docker does not record the architecture of ARM images: their names are too vague to match nodes by. */
function platform(found: { readonly architecture?: string; readonly os?: string }): Platform {
  const architecture = /^(arm|aarch)/.test(found.architecture ?? '') ? '' : (found.architecture ?? '');
  return {
    ...(architecture === '' ? {} : { Architecture: architecture }),
    ...(found.os === undefined ? {} : { OS: found.os }),
  };
}

function withImage(spec: ServiceSpec, image: string, platforms: readonly Platform[]): ServiceSpec {
  const { TaskTemplate: task } = spec;
  return {
    ...spec,
    TaskTemplate: {
      ...task,
      ContainerSpec: { ...task.ContainerSpec, Image: image },
      Placement: { ...task.Placement, ...(platforms.length > 0 ? { Platforms: platforms } : {}) },
    },
  };
}
