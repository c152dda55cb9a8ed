import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addressRestMs } from '../../../model/network.ts';
import { changesBetween, Deriver, type NameRecords, noRecords, parts } from './records.ts';
import { desired, endpoint, network, type Parts, sandbox, service } from './testing/state.ts';
import { ttl, Zone } from './zone.ts';

function zoneOf(state: Parts): Zone {
  const zone = new Zone();
  zone.apply(changesBetween(noRecords, new Deriver().records(desired(state))));
  return zone;
}

function lookUp(zone: Zone, from: string, name: string): readonly string[] | undefined {
  const asker = zone.asker(from);
  const found = asker && zone.addresses(asker, name);
  return found && [...found.v4, ...found.v6];
}

function reverse(zone: Zone, from: string, name: string): string | undefined {
  const asker = zone.asker(from);
  const found = asker && zone.pointer(asker, name);
  return found && (found.name ?? 'nobody');
}

const shop: Parts = {
  sandboxes: [
    sandbox('a1', '172.28.1.2', ['front', 'back']),
    sandbox('b1', '172.28.1.3', ['back']),
    sandbox('c1', '172.28.1.4', ['front']),
  ],
  networks: [network('front', ['10.0.1.0/24', 'fd00:1::/64']), network('back', ['10.0.2.0/24'])],
  services: [
    service('web', { front: ['10.0.1.2/24', 'fd00:1::2/64'] }, { aliases: ['www'] }),
    service('db', { back: ['10.0.2.2/24'] }),
    service('cache', { back: [] }, { mode: 'dnsrr', aliases: ['redis'] }),
    service('both', { front: ['10.0.1.9/24'], back: ['10.0.2.9/24'] }),
  ],
  endpoints: [
    endpoint(
      'a1',
      'web',
      { front: ['10.0.1.11/24', 'fd00:1::11/64'], back: ['10.0.2.11/24'] },
      { names: ['Web-One', 'a1'] },
    ),
    endpoint('a2', 'web', { front: ['10.0.1.12/24', 'fd00:1::12/64'] }),
    endpoint('a3', 'web', { front: ['10.0.1.13/24'] }, { active: false }),
    endpoint('b1', 'db', { back: ['10.0.2.21/24'] }, { names: ['starting'], active: false }),
    endpoint('r1', 'cache', { back: ['10.0.2.31/24'] }),
    endpoint('r2', 'cache', { back: ['10.0.2.32/24'] }),
  ],
};

describe('names', () => {
  const zone = zoneOf(shop);
  const [onBoth, onBack, onFront] = ['172.28.1.2', '172.28.1.3', '172.28.1.4'];

  test('a service and its aliases lead to its virtual addresses, in any letters and with a dot at the end', () => {
    for (const name of ['web', 'WWW', 'Web.', 'web.front-name', 'www.FRONT-name.']) {
      expect(lookUp(zone, onFront, name)).toEqual(['10.0.1.2', 'fd00:1::2']);
    }
  });

  test('tasks.NAME and a service without virtual address lead to the tasks that count', () => {
    const web = ['10.0.1.11', '10.0.1.12', 'fd00:1::11', 'fd00:1::12'];
    expect(lookUp(zone, onFront, 'tasks.web')).toEqual(web);
    expect(lookUp(zone, onFront, 'tasks.www.front-name')).toEqual(web);
    expect(lookUp(zone, onBack, 'cache')).toEqual(['10.0.2.31', '10.0.2.32']);
    expect(lookUp(zone, onBack, 'tasks.redis')).toEqual(['10.0.2.31', '10.0.2.32']);
  });

  test('a task is known by its own names', () => {
    expect(lookUp(zone, onFront, 'web-one')).toEqual(['10.0.1.11', 'fd00:1::11']);
    expect(lookUp(zone, onBack, 'a1.back-name')).toEqual(['10.0.2.11']);
    expect(lookUp(zone, onFront, 'web.1.a2')).toEqual(['10.0.1.12', 'fd00:1::12']);
  });

  test('a task that starts sees itself, nobody else sees it, and nobody is asked elsewhere', () => {
    expect(lookUp(zone, onBack, 'starting')).toEqual(['10.0.2.21']);
    expect(lookUp(zone, onBoth, 'starting')).toEqual([]);
    expect(lookUp(zone, onBoth, 'tasks.db')).toEqual([]);
  });

  test('names of networks that the asker is not on are not found', () => {
    for (const name of ['db', 'tasks.db', 'cache', 'db.back-name', 'r1', 'starting']) {
      expect(lookUp(zone, onFront, name)).toBeUndefined();
    }
    expect(lookUp(zone, onBack, 'web.front-name')).toBeUndefined();
    expect(lookUp(zone, onBack, 'web.back-name')).toBeUndefined();
  });

  test('a name on several networks is answered by the first one that the asker is on', () => {
    expect(lookUp(zone, onBoth, 'both')).toEqual(['10.0.1.9']);
    expect(lookUp(zone, onBack, 'both')).toEqual(['10.0.2.9']);
    expect(lookUp(zone, onBoth, 'both.back-name')).toEqual(['10.0.2.9']);
  });

  test('names and networks may have dots', () => {
    const dotted = zoneOf({
      sandboxes: [sandbox('t', '172.28.1.2', ['n'])],
      networks: [network('n', [], { name: 'corp.net' })],
      services: [service('a.b', { n: ['10.0.1.2/24'] })],
    });
    expect(lookUp(dotted, '172.28.1.2', 'a.b')).toEqual(['10.0.1.2']);
    expect(lookUp(dotted, '172.28.1.2', 'a.b.corp.net')).toEqual(['10.0.1.2']);
    expect(lookUp(dotted, '172.28.1.2', 'a.b.net')).toBeUndefined();
  });

  test('a service comes before a task of the same name; services of one name answer together', () => {
    const same = zoneOf({
      sandboxes: [sandbox('t', '172.28.1.2', ['n'])],
      networks: [network('n', [])],
      services: [service('db', { n: ['10.0.1.2/24'] }), service('db-new', { n: ['10.0.1.3/24'] }, { aliases: ['db'] })],
      endpoints: [endpoint('t', 'db', { n: ['10.0.1.9/24'] }, { names: ['db'] })],
    });
    expect(lookUp(same, '172.28.1.2', 'db')).toEqual(['10.0.1.2', '10.0.1.3']);
  });

  test('addresses lead back to a name with its network', () => {
    expect(reverse(zone, onFront, '2.1.0.10.in-addr.arpa')).toBe('web.front-name');
    expect(reverse(zone, onFront, '11.1.0.10.IN-ADDR.ARPA.')).toBe('Web-One.front-name');
    const nibbles = 'fd0000010000000000000000000000' + '11';
    expect(reverse(zone, onFront, `${[...nibbles].reverse().join('.')}.ip6.arpa`)).toBe('Web-One.front-name');
  });

  test('an address of its networks that is nobody’s is nobody’s; any other is for others to say', () => {
    expect(reverse(zone, onFront, '77.1.0.10.in-addr.arpa')).toBe('nobody');
    expect(reverse(zone, onFront, '21.2.0.10.in-addr.arpa')).toBeUndefined();
    for (const name of ['8.8.8.8.in-addr.arpa', '1.0.10.in-addr.arpa', 'x.1.0.10.in-addr.arpa', '1.ip6.arpa', 'web']) {
      expect(reverse(zone, onFront, name)).toBeUndefined();
    }
  });

  test('no answer lives as long as a freed address rests', () => {
    expect(Math.max(...Object.values(ttl)) * 1000).toBeLessThan(addressRestMs);
  });
});

describe('changes', () => {
  test('a record that says the same again is no change, even in another object', () => {
    const deriver = new Deriver();
    const first = deriver.records(desired(shop));
    const again = deriver.records(structuredClone(desired(shop)));
    expect(changesBetween(first, again)).toEqual({});
  });

  test('what names do not depend on is no change', () => {
    const deriver = new Deriver();
    const before = deriver.records(desired(shop));
    const moved = (shop.endpoints ?? []).map((each) => ({ ...each, nodeId: 'other', gateway: '172.28.9.9' }));
    expect(changesBetween(before, deriver.records(desired({ ...shop, endpoints: moved })))).toEqual({});
  });

  test('a task’s own resolvers replace the host’s, but for loopback ones, which are not those of this host', () => {
    const resolversOf = (nameservers: readonly string[]) => {
      const state = desired({ sandboxes: [{ ...sandbox('t', '172.28.1.2', ['n']), nameservers }] });
      return new Deriver().records(state).askers.get('t')?.resolvers;
    };
    expect(resolversOf([])).toBeUndefined();
    expect(resolversOf(['127.0.0.1', '192.0.2.53', '::1'])).toEqual(['192.0.2.53']);
    expect(resolversOf(['127.0.0.53'])).toEqual([]);
  });

  test('a state that is changed in place is seen', () => {
    const deriver = new Deriver();
    const state = desired(shop);
    const before = deriver.records(state);
    (state.state.services as Map<string, unknown>).delete('web');
    expect(changesBetween(before, deriver.records(state))).toEqual({ services: { put: [], removed: ['web'] } });
  });

  test('a container without networks knows no name and no address of the cluster', () => {
    const zone = zoneOf({ ...shop, sandboxes: [...(shop.sandboxes ?? []), sandbox('alone', '172.28.1.9', [])] });
    for (const name of ['web', 'tasks.web', 'a1', 'web.front-name']) {
      expect([name, lookUp(zone, '172.28.1.9', name)]).toEqual([name, undefined]);
    }
    expect(reverse(zone, '172.28.1.9', '2.1.0.10.in-addr.arpa')).toBeUndefined();
    expect(zone.asker('172.28.1.9')?.networks).toEqual([]);
  });

  test('where a service has no virtual address (macvlan, ipvlan), its name leads to its tasks', () => {
    const zone = zoneOf({
      sandboxes: [sandbox('a1', '172.28.1.2', ['lan', 'front'])],
      networks: [network('lan', ['192.168.1.0/24'], { driver: 'macvlan', vni: 0 }), network('front', ['10.0.1.0/24'])],
      services: [
        service('web', { lan: [] }, { aliases: ['www'] }),
        service('both', { lan: [], front: ['10.0.1.2/24'] }),
      ],
      endpoints: [
        endpoint('w1', 'web', { lan: ['192.168.1.11/24'] }),
        endpoint('w2', 'web', { lan: ['192.168.1.12/24'] }),
        endpoint('w3', 'web', { lan: ['192.168.1.13/24'] }, { active: false }),
        endpoint('b1', 'both', { lan: ['192.168.1.21/24'], front: ['10.0.1.21/24'] }),
      ],
    });
    expect(lookUp(zone, '172.28.1.2', 'web')).toEqual(['192.168.1.11', '192.168.1.12']);
    expect(lookUp(zone, '172.28.1.2', 'www.lan-name')).toEqual(['192.168.1.11', '192.168.1.12']);
    expect(lookUp(zone, '172.28.1.2', 'both.front-name')).toEqual(['10.0.1.2']);
    const asker = zone.asker('172.28.1.2');
    expect(asker && zone.addresses(asker, 'web')?.ttlSeconds).toBe(ttl.task);
  });

  test('containers without networks ask too; only internal networks make an internal one', () => {
    const { askers } = new Deriver().records(
      desired({
        sandboxes: [
          sandbox('none', '172.28.1.2', []),
          sandbox('in', '172.28.1.3', ['i']),
          sandbox('mix', '172.28.1.4', ['i', 'o']),
        ],
        networks: [network('i', [], { internal: true }), network('o', [])],
      }),
    );
    expect([...askers].map(([id, { internal }]) => [id, internal])).toEqual([
      ['none', false],
      ['in', true],
      ['mix', false],
    ]);
  });

  const ids = ['n1', 'n2', 'n3'];
  const places = fc.uniqueArray(fc.constantFrom(...ids), { maxLength: 3 });
  const names = fc.constantFrom('a', 'b', 'A', 'a.n1-name', 'tasks.a', 'x.y');
  const address = fc.nat({ max: 5 }).map((n) => `10.0.1.${n + 2}/24`);
  const on = (networks: readonly string[], one: string) => Object.fromEntries(networks.map((id) => [id, [one]]));
  const states: fc.Arbitrary<Parts> = fc.record({
    networks: places.map((known) => known.map((id) => network(id, ['10.0.1.0/24']))),
    sandboxes: fc
      .uniqueArray(
        fc
          .tuple(fc.constantFrom('t1', 't2', 't3'), places, fc.nat({ max: 3 }))
          .map(([id, nets, at]) => sandbox(id, `172.28.1.${at}`, nets)),
        { selector: ({ gateway }) => gateway, comparator: 'SameValueZero' },
      )
      .map((all) => [...new Map(all.map((each) => [each.taskId, each])).values()]),
    services: fc.uniqueArray(
      fc
        .tuple(fc.constantFrom('s1', 's2'), names, places, address, names, fc.boolean())
        .map(([id, name, nets, one, alias, vip]) =>
          service(id, on(nets, one), { name, aliases: [alias], mode: vip ? 'vip' : 'dnsrr' }),
        ),
      { selector: ({ id }) => id },
    ),
    endpoints: fc.uniqueArray(
      fc
        .tuple(fc.constantFrom('t1', 't2', 't9'), fc.constantFrom('s1', 's2'), places, address, names, fc.boolean())
        .map(([id, of, nets, one, name, active]) => endpoint(id, of, on(nets, one), { names: [name], active })),
      { selector: ({ taskId }) => taskId },
    ),
  });
  const asked = ['a', 'b', 'tasks.a', 'tasks.b', 'a.n1-name', 'tasks.a.n2-name', 'x.y', 'x.y.n3-name', 'zzz'];
  const everything = (zone: Zone) =>
    ['0', '1', '2', '3'].map((at) => [
      zone.asker(`172.28.1.${at}`)?.id,
      ...asked.map((name) => lookUp(zone, `172.28.1.${at}`, name)?.toSorted()),
      ...[2, 3, 4, 5, 6, 7].map((n) => reverse(zone, `172.28.1.${at}`, `${n}.1.0.10.in-addr.arpa`) !== undefined),
    ]);

  test('any series of changes leads to the same names as the last state told at once, in parts of any size', () => {
    fc.assert(
      fc.property(fc.array(states, { minLength: 2, maxLength: 5 }), fc.integer({ min: 1, max: 4 }), (series, size) => {
        const deriver = new Deriver();
        const zone = new Zone();
        let told: NameRecords = noRecords;
        for (const state of series) {
          const records = deriver.records(desired(state));
          for (const part of parts(changesBetween(told, records), size)) zone.apply(part);
          told = records;
        }
        expect(everything(zone)).toEqual(everything(zoneOf(series.at(-1) ?? {})));
      }),
      { seed: 5, numRuns: 300 },
    );
  });

  test('every address that an asker is told is on a network that it is on', () => {
    fc.assert(
      fc.property(states, (state) => {
        const own = (networkId: string) => `10.0.${ids.indexOf(networkId)}.0`;
        // Addresses that tell their network.
        const moved = <T extends { readonly networkId: string; readonly addresses: readonly string[] }>(
          all: readonly T[],
        ) =>
          all.map((place) => ({
            ...place,
            addresses: place.addresses.map((each) => each.replace(/^10\.0\.1/, own(place.networkId).slice(0, -2))),
          }));
        const zone = zoneOf({
          ...state,
          services: (state.services ?? []).map((each) => ({ ...each, networks: moved(each.networks) })),
          endpoints: (state.endpoints ?? []).map((each) => ({ ...each, attachments: moved(each.attachments) })),
        });
        for (const { gateway = '', attachments } of state.sandboxes ?? []) {
          const allowed = attachments.map(({ networkId }) => own(networkId).slice(0, -1));
          for (const name of asked) {
            for (const found of lookUp(zone, gateway, name) ?? []) {
              expect(allowed.some((prefix) => found.startsWith(prefix))).toBe(true);
            }
          }
        }
      }),
      { seed: 6, numRuns: 300 },
    );
  });

  test('one service of a large cluster is changed without touching the rest', () => {
    const services = Array.from({ length: 500 }, (_, n) => service(`s${n}`, { n1: [`10.1.${n >> 8}.${n & 255}/16`] }));
    const endpoints = services.flatMap(({ id }, n) =>
      Array.from({ length: 10 }, (_, at) =>
        endpoint(`${id}-${at}`, id, { n1: [`10.2.${(n * 10 + at) >> 8}.${(n * 10 + at) & 255}/8`] }),
      ),
    );
    const deriver = new Deriver();
    const before = deriver.records(desired({ services, endpoints }));
    const changed = services.map((each) => (each.id === 's7' ? { ...each, name: 'renamed' } : each));
    const changes = changesBetween(before, deriver.records(desired({ services: changed, endpoints })));
    expect(changes.services?.put?.map(({ id }) => id)).toEqual(['s7']);
    expect(Object.keys(changes)).toEqual(['services']);
  });
});
