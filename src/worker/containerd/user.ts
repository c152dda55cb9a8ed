/** Who a container's process runs as: Docker's rules over the image's /etc/passwd and /etc/group. Pure. */
import { ClusterError } from '../../lib/errors.ts';

export interface ProcessUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  /** From passwd; `/` when unknown. */
  readonly home: string;
}

interface Passwd {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface Group {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

const idMax = 2 ** 31 - 1;

/** `spec` is `""`, `user`, `uid`, `user:group`, `uid:gid` or a mix; `extra` are names or ids from group-add. */
export function resolveUser(
  spec: string,
  files: { readonly passwd: string; readonly group: string },
  extra: readonly string[] = [],
): ProcessUser {
  const users = parsePasswd(files.passwd);
  const groups = parseGroup(files.group);
  const colon = spec.indexOf(':');
  const userPart = colon < 0 ? spec : spec.slice(0, colon);
  const groupPart = colon < 0 ? '' : spec.slice(colon + 1);
  const user = findUser(userPart, users);
  const gid = groupPart === '' ? user.gid : findGroup(groupPart, groups);
  const listed = groupPart === '' ? groups.filter((group) => group.members.includes(user.name)) : [];
  const named = extra.map((group) => findGroup(group, groups));
  const additionalGids = [...new Set([gid, ...listed.map((group) => group.gid), ...named])];
  return { uid: user.uid, gid, additionalGids, home: user.home === '' ? '/' : user.home };
}

function findUser(part: string, users: readonly Passwd[]): Passwd {
  const id = part === '' ? 0 : numeric(part);
  if (id !== undefined) {
    return users.find((user) => user.uid === id) ?? { name: '', uid: id, gid: 0, home: '/' };
  }
  const user = users.find((candidate) => candidate.name === part);
  if (user === undefined)
    throw new ClusterError('invalid', `unable to find user ${part}: no matching entries in passwd file`);
  return user;
}

function findGroup(part: string, groups: readonly Group[]): number {
  const id = numeric(part);
  if (id !== undefined) return id;
  const group = groups.find((candidate) => candidate.name === part);
  if (group === undefined)
    throw new ClusterError('invalid', `unable to find group ${part}: no matching entries in group file`);
  return group.gid;
}

function numeric(text: string): number | undefined {
  if (!/^\d+$/.test(text)) return undefined;
  const value = Number(text);
  if (value > idMax) throw new ClusterError('invalid', `uids and gids must be in range 0-${idMax}`);
  return value;
}

function parsePasswd(text: string): readonly Passwd[] {
  return fieldsOf(text).flatMap(([name, , uid, gid, , home]) =>
    name === undefined || !isNumber(uid) || !isNumber(gid)
      ? []
      : [{ name, uid: Number(uid), gid: Number(gid), home: home ?? '' }],
  );
}

function parseGroup(text: string): readonly Group[] {
  return fieldsOf(text).flatMap(([name, , gid, members]) =>
    name === undefined || !isNumber(gid)
      ? []
      : [{ name, gid: Number(gid), members: (members ?? '').split(',').filter((member) => member !== '') }],
  );
}

function fieldsOf(text: string): readonly (readonly string[])[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'));
}

function isNumber(text: string | undefined): boolean {
  return text !== undefined && /^\d+$/.test(text);
}
