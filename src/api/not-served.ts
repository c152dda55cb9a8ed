/** Parts of the Docker Engine API that are about one engine, not about a cluster: what is asked for is named, and what to use instead. */
const instead: Readonly<Record<string, string>> = {
  containers:
    'use `tscluster service ps SERVICE` or `tscluster node ps NODE` for tasks, `tscluster service logs` for their output',
  exec: 'commands in running tasks cannot be run from here',
  images: 'nodes pull the images of their tasks by themselves; use `ctr images` on the node',
  build: 'build images elsewhere and push them to a registry',
  session: 'build images elsewhere and push them to a registry',
  commit: 'build images elsewhere and push them to a registry',
  plugins: 'drivers are built in',
  auth: "nodes log in to registries with the daemon's own settings",
  system: 'use `tscluster info`',
};

/** Why nobody answers at this path; undefined: it is no path of Docker's either. */
export function notServed(url: string): string | undefined {
  const noun = /^\/([a-z]+)/.exec(url)?.[1] ?? '';
  if (!Object.hasOwn(instead, noun)) return undefined;
  return `${noun} API is not served by tscluster: ${instead[noun]}`;
}

/** One thing of an engine, asked for by name: `docker inspect` tries these before services, tasks and networks. */
const things: Readonly<Record<string, string>> = {
  containers: 'container',
  images: 'image',
  plugins: 'plugin',
};

/** Docker's words for a thing that is not there, when one is asked for; undefined: something else is asked for. */
export function noSuchThing(method: string, url: string): string | undefined {
  const match = /^\/([a-z]+)\/([^?]+)\/json(?:\?|$)/.exec(url);
  const [noun = '', name = ''] = match?.slice(1) ?? [];
  if (method !== 'GET' || !Object.hasOwn(things, noun)) return undefined;
  return `No such ${things[noun]}: ${name}`;
}
