/**
 * Other programs' firewalls. An `accept` of ours does not undo a `drop` of another table, so with Docker on the host our links are let
 * through in the chain that Docker keeps for its users; where a table drops what is forwarded and has no such chain, we say so.
 */
import type { NetworkProblem } from '../../../model/objects.ts';
import type { Kernel } from './kernel.ts';
import { ingressLink, linkPrefix, ruleComment, tableName } from './names.ts';
import { type ChainView, foreignRuleText, observeForeignRules } from './observe.ts';

const dockerChain = 'DOCKER-USER';
/** By the comment that they carry. Our own table has said what may pass. */
const wanted: ReadonlyMap<string, string> = new Map([
  ['from containers', `iifname "${linkPrefix}*" accept`],
  ['to containers', `oifname "${linkPrefix}*" accept`],
  ['from nodes', `iifname "${ingressLink}" accept`],
  ['to nodes', `oifname "${ingressLink}" accept`],
]);

export async function syncFirewalls(kernel: Kernel, chains: readonly ChainView[]): Promise<readonly NetworkProblem[]> {
  const docker = dockerUserChain(chains);
  if (docker !== undefined) {
    const lines = accepts(docker, await observeForeignRules(kernel, docker));
    if (lines.length > 0) await kernel.change('nft', ['-f', '-'], `${lines.join('\n')}\n`);
  }
  const problems: NetworkProblem[] = [];
  for (const chain of chains) {
    const isCovered = docker !== undefined && chain.family === docker.family && chain.table === docker.table;
    if (chain.hook !== 'forward' || chain.policy !== 'drop' || chain.table === tableName || isCovered) continue;
    if (chain.family === 'ip6' || chain.family === 'arp' || chain.family === 'bridge' || chain.family === 'netdev')
      continue;
    if ((await foreignRuleText(kernel, chain)).includes(linkPrefix)) continue;
    problems.push({
      message:
        `firewall: table ${chain.family} ${chain.table} drops what is forwarded, which cuts containers off: ` +
        `accept input and output interfaces ${linkPrefix}* and ${ingressLink} in its chain ${chain.name}`,
    });
  }
  return problems;
}

export async function removeAccepts(kernel: Kernel, chains: readonly ChainView[]): Promise<void> {
  const docker = dockerUserChain(chains);
  if (docker === undefined) return;
  const handles = [...(await observeForeignRules(kernel, docker)).values()];
  if (handles.length > 0)
    await kernel.change('nft', ['-f', '-'], `${handles.map((one) => removal(docker, one)).join('\n')}\n`);
}

function accepts(chain: ChainView, held: ReadonlyMap<string, number>): readonly string[] {
  const missing = [...wanted].filter(([what]) => !held.has(what));
  const stale = [...held].filter(([what]) => !wanted.has(what));
  return [
    ...stale.map(([, handle]) => removal(chain, handle)),
    // In front: Docker's chain ends in a `return`. With a counter, as iptables shows it.
    ...missing.map(
      ([what, rule]) =>
        `insert rule ${chain.family} ${chain.table} ${chain.name} ${rule.replace(' accept', ' counter accept')} comment "${ruleComment}: ${what}"`,
    ),
  ];
}

function removal(chain: ChainView, handle: number): string {
  return `delete rule ${chain.family} ${chain.table} ${chain.name} handle ${handle}`;
}

function dockerUserChain(chains: readonly ChainView[]): ChainView | undefined {
  return chains.find(({ family, table, name }) => family === 'ip' && table === 'filter' && name === dockerChain);
}
