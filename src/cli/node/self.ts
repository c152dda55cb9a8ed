import type { Client } from '../../client/index.ts';

/** `self` stands for the node that the daemon runs on. */
export async function resolveNode(client: Client, name: string): Promise<string> {
  if (name !== 'self') return name;
  const id = (await client.info()).Swarm.NodeID;
  // Outside a cluster the list gives the proper explanation.
  if (id === '') await client.nodes();
  return id;
}
