import type { FastifyInstance } from 'fastify';
import { ClusterError } from '../../lib/errors.ts';
import type { ApiContext } from '../context.ts';

/** `GET /distribution/{name}/json`: what an image reference means on its registry now. Names contain slashes. */
export function distributionRoutes(app: FastifyInstance, { respond, node }: ApiContext): void {
  app.get('/distribution/*', async (request, reply) => {
    const path = (request.params as Readonly<Record<string, string>>)['*'] ?? '';
    if (!path.endsWith('/json')) throw new ClusterError('not_found', 'page not found');
    const auth = request.headers['x-registry-auth'];
    const reference = path.slice(0, -'/json'.length);
    const image = await node.resolveImage(reference, typeof auth === 'string' ? auth : undefined);
    return respond.json(reply, {
      Descriptor: { mediaType: image.mediaType, digest: image.digest, size: image.size },
      Platforms: image.platforms.map(({ architecture, os, variant }) => ({
        architecture,
        os,
        ...(variant === undefined ? {} : { variant }),
      })),
    });
  });
}
