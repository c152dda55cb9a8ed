import { realClock } from '../../src/lib/real.ts';
import type { AgentMessage, ManagerMessage } from '../../src/model/assignment.ts';
import type { ManagerService } from '../../src/rpc/port.ts';
import { Link, Outbox, type Parcel } from './link.ts';

const parcelsPerTurn = 50;

/** The agents' streams to one manager. */
export class Sessions {
  readonly #service: ManagerService;
  readonly #outbox: Outbox;
  readonly #links = new Map<number, Link<ManagerMessage, AgentMessage>>();
  readonly #registered = new Set<number>();
  readonly #inbox: Parcel[] = [];

  constructor(service: ManagerService, send: (parcels: readonly Parcel[]) => void) {
    this.#service = service;
    this.#outbox = new Outbox(send);
  }

  /** How many agents have been welcomed and are still there. */
  get registered(): number {
    return this.#registered.size;
  }

  arrive(parcels: readonly Parcel[]): void {
    this.#inbox.push(...parcels);
    if (this.#inbox.length === parcels.length) this.#read();
  }

  /** As when this host is gone: the other ends notice, this one is told nothing. */
  cut(): void {
    for (const stream of this.#links.keys()) this.#outbox.post({ kind: 'close', stream });
    this.#links.clear();
    this.#registered.clear();
  }

  /** Connections of their own would be read a few at a time, too. */
  #read(): void {
    for (const parcel of this.#inbox.splice(0, parcelsPerTurn)) this.#hear(parcel);
    if (this.#inbox.length > 0) realClock.defer(() => this.#read());
  }

  #hear(parcel: Parcel): void {
    if (parcel.kind === 'open') return this.#accept(parcel.stream, parcel.nodeId);
    const link = this.#links.get(parcel.stream);
    if (parcel.kind === 'data') link?.arrived(parcel.bytes);
    else link?.closed();
  }

  #accept(stream: number, nodeId: string): void {
    const link = new Link<ManagerMessage, AgentMessage>(stream, (parcel) => {
      if (!this.#links.has(stream)) return;
      if (parcel.kind === 'close') this.#forget(stream);
      this.#outbox.post(parcel);
    });
    this.#links.set(stream, link);
    const duplex = {
      send: (message: ManagerMessage) => {
        if (message.kind === 'welcome') this.#registered.add(stream);
        return link.send(message);
      },
      onMessage: (handle: (message: AgentMessage) => void) => link.onMessage(handle),
      onClose: (handle: (error: Error | undefined) => void) =>
        link.onClose((error) => {
          this.#forget(stream);
          handle(error);
        }),
      close: () => link.close(),
    };
    this.#service.session(duplex, { nodeId, role: 'worker', clusterId: 'scale' }, '10.0.0.1:4000');
  }

  #forget(stream: number): void {
    this.#links.delete(stream);
    this.#registered.delete(stream);
  }
}
