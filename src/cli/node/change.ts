import type { Client } from '../../client/index.ts';
import { isKind } from '../../lib/errors.ts';
import type { NodeSpec } from '../../model/spec.ts';

const attemptsMax = 5;

/**
 * Reads a node, changes its spec, writes it back. The daemon itself writes nodes now and then, so a stale version is
 * read again a few times. Returns false when `change` had nothing to do.
 */
export async function changeNode(
  client: Client,
  id: string,
  change: (spec: NodeSpec) => NodeSpec | undefined,
): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    const node = await client.node(id);
    const spec = change({ ...node.Spec, Labels: node.Spec.Labels ?? {} });
    if (spec === undefined) return false;
    try {
      await client.updateNode(node.ID, node.Version.Index, spec);
      return true;
    } catch (error) {
      if (!isKind(error, 'conflict') || attempt >= attemptsMax) throw error;
    }
  }
}
