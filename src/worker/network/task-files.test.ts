import { describe, expect, test } from 'vitest';
import { request } from './contract.ts';
import { resolvConf, taskFiles } from './task-files.ts';

const host = {
  hosts: '127.0.0.1 localhost\n10.0.0.7 box',
  resolvConf: 'search example.org\nnameserver 127.0.0.53\nnameserver 9.9.9.9\noptions edns0\n',
};
const attachments = [
  { networkId: 'n1', addresses: ['10.0.1.5/24', 'fd00::5/64'] },
  { networkId: 'n2', addresses: ['10.0.2.5/24'] },
];
const dns = { nameservers: ['1.1.1.1'], search: ['a', 'b'], options: ['ndots:2', 'rotate'] };

describe('/etc/resolv.conf', () => {
  test("a task's own DNS settings win over the host's", () => {
    expect(resolvConf(host.resolvConf, { nameservers: [], search: [], options: [] })).toBe(
      'nameserver 9.9.9.9\nsearch example.org\noptions edns0\n',
    );
    expect(resolvConf(host.resolvConf, dns)).toBe('nameserver 1.1.1.1\nsearch a b\noptions ndots:2 rotate\n');
  });

  test('on a network the names of the cluster are asked first, and names without a dot are whole', () => {
    expect(taskFiles(request('t', { attachments }), host, '172.28.1.2').resolvConf).toBe(
      'nameserver 127.0.0.11\nsearch example.org\noptions edns0 ndots:0\n',
    );
    expect(taskFiles(request('t', { attachments, dns }), host, '172.28.1.2').resolvConf).toBe(
      'nameserver 127.0.0.11\nsearch a b\noptions ndots:2 rotate\n',
    );
  });

  test('without a network names are asked there as well, but the host says which names are whole', () => {
    expect(taskFiles(request('t'), host, '172.28.1.2').resolvConf).toBe(
      'nameserver 127.0.0.11\nsearch example.org\noptions edns0\n',
    );
    expect(taskFiles(request('t', { dns }), host, '172.28.1.2').resolvConf).toBe(
      'nameserver 127.0.0.11\nsearch a b\noptions ndots:2 rotate\n',
    );
  });

  test('with loopback only nobody answers there', () => {
    expect(taskFiles(request('t', { mode: 'none' }), host, undefined).resolvConf).toContain('nameserver 9.9.9.9\n');
  });

  test("in the host's network it is the host's as it is, unless the task has its own", () => {
    expect(taskFiles(request('t', { mode: 'host' }), host, undefined).resolvConf).toBe(host.resolvConf);
    expect(taskFiles(request('t', { mode: 'host', dns }), host, undefined).resolvConf).toContain('nameserver 1.1.1.1');
    const searching = { nameservers: [], search: ['a'], options: [] };
    expect(taskFiles(request('t', { mode: 'host', dns: searching }), host, undefined).resolvConf).toBe(
      'nameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch a\noptions edns0\n',
    );
  });
});

describe('/etc/hosts', () => {
  test('names the task by its addresses on its networks, and the extra hosts', () => {
    const { hosts } = taskFiles(
      request('web-1', { attachments, extraHosts: ['10.9.9.9 db db.local'] }),
      host,
      '172.28.1.2',
    );
    expect(hosts).toContain('10.9.9.9\tdb db.local\n10.0.1.5\tweb-1\nfd00::5\tweb-1\n10.0.2.5\tweb-1\n');
    expect(hosts).not.toContain('172.28.1.2');
  });

  test('names it by its gateway address when it is on none', () => {
    expect(taskFiles(request('web-1'), host, '172.28.1.2').hosts).toMatch(/\n172\.28\.1\.2\tweb-1\n$/);
  });

  test("in the host's network it is the host's, with the extra ones behind", () => {
    const { hosts } = taskFiles(request('t', { mode: 'host', extraHosts: ['10.9.9.9 db'] }), host, undefined);
    expect(hosts).toBe('127.0.0.1 localhost\n10.0.0.7 box\n10.9.9.9\tdb\n');
  });
});
