/** Looking into an image's file system from the host: symbolic links are followed inside it only. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, readFile, readlink } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { ClusterError } from '../../lib/errors.ts';
import { isMissing } from './files.ts';

/** As containerd's snapshotters describe it. */
export interface RootfsMount {
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

const linksMax = 64;

/**
 * Gives `work` a directory that shows the mounted file system. A bind is its source; everything else is mounted in a mount
 * namespace of its own, which ends with the child that holds it: nothing is left behind, whatever happens here.
 */
export async function withRootfs<T>(
  mounts: readonly RootfsMount[],
  scratch: string,
  work: (root: string) => Promise<T>,
): Promise<T> {
  const [mount] = mounts;
  if (mount === undefined || mounts.length > 1) {
    throw new ClusterError('unimplemented', `a snapshot of ${mounts.length} mounts is not supported yet`);
  }
  if (mount.type === 'bind') return work(mount.source);
  await mkdir(scratch, { recursive: true, mode: 0o700 });
  const { options, directory } = shorten(mount.options);
  const script = 'cd "$4" && mount -t "$1" -o "$2" -- "$3" "$5" && echo ready && read line';
  const args = [mount.type, ['ro', ...options].join(','), mount.source, directory, scratch];
  const child = spawn('unshare', ['--mount', 'sh', '-c', script, 'sh', ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (text: Buffer) => {
    complaint = `${complaint}${text.toString()}`.slice(0, 500);
  });
  const exited = once(child, 'close');
  exited.catch(() => {});
  try {
    const ready = await Promise.race([once(child.stdout, 'data').then(() => true), exited.then(() => false)]);
    if (!ready) throw new ClusterError('internal', `mounting the image: ${complaint.trim()}`);
    return await work(`/proc/${child.pid}/root${scratch}`);
  } finally {
    child.stdin.end('\n');
    await exited.catch(() => {});
  }
}

/** Overlay options with paths relative to their common directory: the kernel takes one page of options. */
function shorten(options: readonly string[]): { options: readonly string[]; directory: string } {
  const lower = options.find((option) => option.startsWith('lowerdir='));
  if (lower === undefined)
    return { options: options.filter((option) => !/^(upperdir|workdir)=/.test(option)), directory: '/' };
  const upper = options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length);
  // Read-only needs no upper directory: it becomes the topmost lower one.
  const paths = [...(upper === undefined ? [] : [upper]), ...lower.slice('lowerdir='.length).split(':')];
  let directory = posix.dirname(paths[0] ?? '/');
  while (!paths.every((path) => path.startsWith(`${directory}/`)) && directory !== '/')
    directory = posix.dirname(directory);
  const relative = paths.map((path) => posix.relative(directory, path));
  const others = options.filter((option) => !/^(lowerdir|upperdir|workdir|index)=?/.test(option));
  return { options: [...others, `lowerdir=${relative.join(':')}`], directory };
}

/** The host path of `path` inside `root`; undefined when it does not exist there. Never leaves `root`. */
export async function resolveInRoot(root: string, path: string): Promise<string | undefined> {
  let pending = path.split('/').filter((part) => part !== '' && part !== '.');
  const resolved: string[] = [];
  for (let links = 0; pending.length > 0; ) {
    const [part, ...rest] = pending;
    pending = rest;
    if (part === undefined) break;
    if (part === '..') {
      resolved.pop();
      continue;
    }
    const target = await linkTarget(join(root, ...resolved, part));
    if (target === 'missing') return undefined;
    if (target === undefined) {
      resolved.push(part);
      continue;
    }
    links += 1;
    if (links > linksMax) return undefined;
    if (target.link.startsWith('/')) resolved.length = 0;
    pending = [...target.link.split('/').filter((piece) => piece !== '' && piece !== '.'), ...pending];
  }
  return join(root, ...resolved);
}

async function linkTarget(path: string): Promise<'missing' | { link: string } | undefined> {
  try {
    const stats = await lstat(path);
    return stats.isSymbolicLink() ? { link: await readlink(path) } : undefined;
  } catch (error) {
    if (isMissing(error)) return 'missing';
    throw error;
  }
}

/** A text file of the image; empty when it has none. */
export async function readInRoot(root: string, path: string): Promise<string> {
  const found = await resolveInRoot(root, path);
  if (found === undefined) return '';
  const stats = await lstat(found);
  if (!stats.isFile() || stats.size > 4 * 1024 * 1024) return '';
  return readFile(found, 'utf8');
}
