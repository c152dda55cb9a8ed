/**
 * The names that containers ask 127.0.0.11 for. They are answered by a process of its own (`src/node/names-process.ts`) that goes on
 * while the daemon restarts; the plane starts it, tells it what changed over a socket, and waits until it has that in place.
 */
export { createNamesPlane, type NamesPlaneOptions } from './plane.ts';
