/**
 * Reads are asked far more often than the state changes. Objects are immutable, so the JSON of one is made once; and whole
 * answers are kept until the next change of the state.
 */
import type { ClusterView } from '../model/view.ts';

/** JSON of an object, made once for as long as the object lives. */
export function memoJson<O extends object>(convert: (object: O) => unknown): (object: O) => string {
  const known = new WeakMap<O, string>();
  return (object) => {
    const kept = known.get(object);
    if (kept !== undefined) return kept;
    const json = JSON.stringify(convert(object));
    known.set(object, json);
    return json;
  };
}

/** Adds one member to the JSON of an object. */
export function withMember(json: string, key: string, value: unknown): string {
  return `${json.slice(0, -1)},${JSON.stringify(key)}:${JSON.stringify(value)}}`;
}

export function jsonArray(items: readonly string[]): string {
  return `[${items.join(',')}]\n`;
}

const answersMax = 64;
const bytesMax = 32 * 1024 * 1024;
const keyLengthMax = 4096;

interface Answers {
  version: number;
  bytes: number;
  readonly byKey: Map<string, Buffer>;
}

/** Whole answers of one version of the state. Bounded: when full, all are forgotten. */
export class AnswerCache {
  readonly #byView = new WeakMap<ClusterView, Answers>();

  /** `key` names everything but the state that the answer depends on. */
  get(view: ClusterView, key: string, make: () => string): Buffer {
    const answers = this.#answers(view);
    const kept = answers.byKey.get(key);
    if (kept !== undefined) return kept;
    const body = Buffer.from(make());
    if (key.length > keyLengthMax || body.length > bytesMax) return body;
    if (answers.byKey.size >= answersMax || answers.bytes + body.length > bytesMax) {
      answers.byKey.clear();
      answers.bytes = 0;
    }
    answers.byKey.set(key, body);
    answers.bytes += body.length;
    return body;
  }

  #answers(view: ClusterView): Answers {
    const answers = this.#byView.get(view) ?? { version: view.version, bytes: 0, byKey: new Map() };
    if (answers.version !== view.version) {
      answers.version = view.version;
      answers.bytes = 0;
      answers.byKey.clear();
    }
    this.#byView.set(view, answers);
    return answers;
  }
}
