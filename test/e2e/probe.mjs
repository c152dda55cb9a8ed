/**
 * Asks questions from inside a network namespace: a JSON list of probes on standard input, a JSON list of answers on standard
 * output, some at a time: what is measured is the network, not how much a busy machine can do at once. Plain JavaScript without a loader, since it starts once per container and round.
 */
import { askDns, askHttp, askUdp } from './ask.mjs';

const limitMs = 1_000;
/** For what nobody should answer: who does, does so at once. */
const silentLimitMs = 300;
const lanes = 16;

const kinds = { http: askHttp, udp: askUdp, dns: askDns };

let input = '';
for await (const chunk of process.stdin) input += chunk;
const questions = JSON.parse(input);
const answers = [];

async function answer(at, limit) {
  answers[at] = await kinds[questions[at].kind]({ ...questions[at], limitMs: limit });
}

const waiting = [...questions.keys()].filter((at) => !questions[at].silent);
async function lane() {
  for (let at = waiting.shift(); at !== undefined; at = waiting.shift()) await answer(at, limitMs);
}
await Promise.all(Array.from({ length: lanes }, lane));
await Promise.all(questions.map((question, at) => (question.silent ? answer(at, silentLimitMs) : undefined)));
process.stdout.write(JSON.stringify(answers));
