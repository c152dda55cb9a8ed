import { parseDocument, type ScalarTag } from 'yaml';
import { ClusterError } from '../lib/errors.ts';
import { checkForbidden, checkShape, warningsFor } from './check.ts';
import { type Data, isData, type StackFile } from './document.ts';
import { interpolateTree, type Variables } from './interpolate.ts';
import { normalize, type PathResolver } from './normalize.ts';

export interface Source {
  /** As the user named it, for messages. */
  readonly name: string;
  readonly text: string;
}

const sourceCharsMax = 4 * 1024 * 1024;
const aliasesMax = 100;

/** `0444` is octal here, as in YAML 1.1 and in Docker's reader: file modes are written so. */
const legacyOctal: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^0[0-7]+$/,
  resolve: (text) => Number.parseInt(text, 8),
};

export interface ParsedSource {
  readonly file: StackFile;
  readonly warnings: readonly string[];
}

/** One source: YAML → interpolated → checked → long forms. */
export function parseSource(source: Source, variables: Variables | undefined, paths: PathResolver): ParsedSource {
  try {
    const raw = parseYaml(source.text);
    const version = checkVersion(raw);
    checkForbidden(raw);
    const data = variables === undefined ? raw : interpolateSections(raw, variables);
    checkShape(data);
    return { file: normalize(data, version, paths), warnings: warningsFor(data) };
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    throw new ClusterError(error.kind, `${source.name}: ${error.message}`, { cause: error });
  }
}

function parseYaml(text: string): Data {
  if (text.length > sourceCharsMax)
    throw new ClusterError('invalid', `a stack file may have at most ${sourceCharsMax} characters`);
  let data: unknown;
  try {
    const document = parseDocument(text, {
      merge: true,
      uniqueKeys: true,
      customTags: (tags) => [legacyOctal, ...tags],
    });
    const problem = document.errors[0];
    if (problem !== undefined) throw problem;
    data = document.toJS({ maxAliasCount: aliasesMax });
  } catch (error) {
    const detail = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw new ClusterError('invalid', `invalid YAML: ${detail.replace(/:$/, '')}`, { cause: error });
  }
  if (!isData(data)) throw new ClusterError('invalid', 'Top-level object must be a mapping');
  return data;
}

function checkVersion(data: Data): string {
  const given = data['version'];
  const version = given === undefined || given === null || given === '' ? '3.13' : String(given);
  if (version === '3') return '3.13';
  if (!/^3\.(\d|1[0-3])$/.test(version))
    throw new ClusterError('invalid', `unsupported Compose file version: ${version}`);
  return version;
}

const sections = ['services', 'volumes', 'networks', 'secrets', 'configs'];

function interpolateSections(data: Data, variables: Variables): Data {
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [
      key,
      sections.includes(key) ? interpolateTree(value, [key], variables) : value,
    ]),
  );
}
