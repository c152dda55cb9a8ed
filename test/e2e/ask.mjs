/** One question to one address, from the network namespace that this process is in. Plain JavaScript: see probe.mjs. */
import { randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import http from 'node:http';
import packet from 'dns-packet';

/** The body, or the error's code; `TIMEOUT` when there is neither in time. */
export function askHttp({ host, port, limitMs }) {
  return new Promise((resolve) => {
    const options = { host, port, path: '/', agent: false, timeout: limitMs, headers: { connection: 'close' } };
    const request = http.get(options, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () => resolve(response.statusCode === 200 ? body.trim() : `status ${response.statusCode}`));
      response.on('error', () => resolve('broken'));
    });
    request.on('timeout', () => request.destroy(Object.assign(new Error('timeout'), { code: 'TIMEOUT' })));
    request.on('error', (error) => resolve(error.code ?? error.message));
  });
}

/** One datagram there, one back; asked again a few times, as whoever uses UDP does. */
function exchange({ host, port, limitMs, data }) {
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

export async function askUdp({ host, port, limitMs }) {
  const answer = await exchange({ host, port, limitMs, data: Buffer.from('hello') });
  return typeof answer === 'string' ? answer : answer.toString().trim();
}

/** Answers are sorted text; no such name is `NXDOMAIN`, nothing of the kind is the empty list. */
export async function askDns({ name, type, limitMs }) {
  const data = packet.encode({
    type: 'query',
    id: randomInt(65_536),
    flags: packet.RECURSION_DESIRED,
    questions: [{ type, name }],
  });
  const answer = await exchange({ host: '127.0.0.11', port: 53, limitMs, data });
  if (typeof answer === 'string') return answer;
  const { rcode, answers } = packet.decode(answer);
  return rcode === 'NOERROR' ? answers.map((record) => String(record.data)).sort() : rcode;
}
