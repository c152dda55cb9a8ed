/**
 * Asks questions from inside a network namespace: a JSON list of probes on standard input, a JSON list of answers on standard
 * output, some at a time: what is measured is the network, not how much a busy machine can do at once. Plain JavaScript without a loader, since it starts once per container and round.
 */
import { randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import http from 'node:http';
import packet from 'dns-packet';

const limitMs = 1_000;

/** @param {{ host: string, port: number, source?: string }} probe */
function ask({ host, port }) {
  return new Promise((resolve) => {
    const options = { host, port, path: '/', agent: false, timeout: limitMs, headers: { connection: 'close' } };
    const request = http.get(options, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () => resolve(body.trim()));
      response.on('error', () => resolve('broken'));
    });
    request.on('timeout', () => request.destroy(Object.assign(new Error('timeout'), { code: 'TIMEOUT' })));
    request.on('error', (error) => resolve(error.code ?? error.message));
  });
}

/** One datagram there, one back; asked again a few times, as whoever uses UDP does. */
function exchange({ host, port, data = Buffer.from('hello') }) {
  return new Promise((resolve) => {
    const socket = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const finish = (answer) => {
      clearTimeout(timer);
      clearInterval(again);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => finish('TIMEOUT'), limitMs);
    const again = setInterval(() => socket.send(data), limitMs / 4);
    socket.on('message', (message) => finish(message));
    socket.on('error', (error) => finish(error.code ?? error.message));
    socket.connect(port, host, (error) => (error ? finish(error.code) : socket.send(data)));
  });
}

async function udp(probe) {
  const answer = await exchange(probe);
  return typeof answer === 'string' ? answer : answer.toString().trim();
}

/** Answers are sorted text; no such name is `NXDOMAIN`, nothing of the kind is the empty list. */
async function dns({ name, type }) {
  const query = packet.encode({
    type: 'query',
    id: randomInt(65_536),
    flags: packet.RECURSION_DESIRED,
    questions: [{ type, name }],
  });
  const answer = await exchange({ host: '127.0.0.11', port: 53, data: query });
  if (typeof answer === 'string') return answer;
  const { rcode, answers } = packet.decode(answer);
  return rcode === 'NOERROR' ? answers.map(({ data }) => String(data)).sort() : rcode;
}

const probes = { http: ask, udp, dns };

let input = '';
for await (const chunk of process.stdin) input += chunk;
const questions = JSON.parse(input);
const answers = [];
let next = 0;
async function lane() {
  while (next < questions.length) {
    const at = next++;
    answers[at] = await probes[questions[at].kind](questions[at]);
  }
}
await Promise.all(Array.from({ length: 16 }, lane));
process.stdout.write(JSON.stringify(answers));
