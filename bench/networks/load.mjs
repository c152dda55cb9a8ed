/**
 * Measures from inside a network namespace, where `nsenter` has put it: one JSON request on standard input, one JSON answer on
 * standard output, times in milliseconds. Plain JavaScript, so that nothing but the network is measured.
 */
import { randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import http from 'node:http';
import packet from 'dns-packet';

const agents = new Map();

function agentOf(keepAlive) {
  if (!agents.has(keepAlive)) agents.set(keepAlive, new http.Agent({ keepAlive, maxSockets: 64 }));
  return agents.get(keepAlive);
}

function ask({ host, port, path = '/', keepAlive = false }) {
  return new Promise((resolve, reject) => {
    const call = http.get({ host, port, path, agent: agentOf(keepAlive), timeout: 5_000 }, (response) => {
      let bytes = 0;
      response.on('data', (chunk) => (bytes += chunk.length));
      response.on('end', () => resolve(bytes));
      response.on('error', reject);
    });
    call.on('timeout', () => call.destroy(new Error('timeout')));
    call.on('error', reject);
  });
}

/** One after the other, each on a new connection. */
async function latency(request) {
  for (let at = 0; at < 50; at++) await ask(request);
  const times = [];
  for (let at = 0; at < request.count; at++) {
    const start = performance.now();
    await ask(request);
    times.push(performance.now() - start);
  }
  return quantiles(times);
}

/** As many as go, on `parallel` lanes with connections kept. */
async function rate(request) {
  const end = performance.now() + request.ms;
  let requests = 0;
  const start = performance.now();
  const lane = async () => {
    while (performance.now() < end) {
      await ask({ ...request, keepAlive: true });
      requests += 1;
    }
  };
  await Promise.all(Array.from({ length: request.parallel }, lane));
  return { perSecond: (requests * 1000) / (performance.now() - start) };
}

async function names(request) {
  const socket = dgram.createSocket('udp4');
  await new Promise((resolve) => socket.connect(53, '127.0.0.11', resolve));
  const one = () =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no answer')), 2_000);
      socket.once('message', (message) => {
        clearTimeout(timer);
        resolve(packet.decode(message).answers.map(({ data }) => data));
      });
      const questions = [{ type: 'A', name: request.name }];
      socket.send(packet.encode({ type: 'query', id: randomInt(65_536), flags: packet.RECURSION_DESIRED, questions }));
    });
  for (let at = 0; at < 50; at++) await one();
  const times = [];
  for (let at = 0; at < request.count; at++) {
    const start = performance.now();
    await one();
    times.push(performance.now() - start);
  }
  socket.close();
  return quantiles(times);
}

function quantiles(times) {
  times.sort((one, other) => one - other);
  const at = (share) => times[Math.min(times.length - 1, Math.floor(share * times.length))];
  return { p50: at(0.5), p99: at(0.99) };
}

let input = '';
for await (const chunk of process.stdin) input += chunk;
const request = JSON.parse(input);
const answer = await { latency, rate, names }[request.kind](request);
process.stdout.write(JSON.stringify(answer));
process.exit(0);
