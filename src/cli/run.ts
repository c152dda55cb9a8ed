/**
 * Runs one command line and tells its exit code: 0 success, 1 failure, 125 a wrong flag, as Docker's client does.
 * Results go to stdout, everything else to stderr. Never throws and never ends the process.
 */
import { Command, CommanderError, Option } from 'commander';
import { type Client, defaultHost } from '../client/index.ts';
import { findCommand, normalizeFlags } from './argv.ts';
import type { Context, World } from './context.ts';
import { describeError } from './describe-error.ts';
import { CliError } from './failure.ts';
import { matches, type Noun, nouns, topVerbs, type Verb } from './program.ts';
import { argumentError, suggestion, usageHint } from './usage.ts';

export type ExitCode = number;

const flagErrorCode = 125;

export async function run(argv: readonly string[], world: World): Promise<ExitCode> {
  const session = new Session(world);
  try {
    await session.execute(argv);
    return session.exitCode;
  } catch (error) {
    return session.report(error);
  } finally {
    session.close();
  }
}

/** One command line: holds the client and the exit code. */
class Session {
  readonly #world: World;
  readonly #program: Command;
  #client: Client | undefined;
  #command: Command;
  exitCode = 0;

  constructor(world: World) {
    this.#world = world;
    this.#program = this.#newProgram();
    this.#command = this.#program;
  }

  async execute(argv: readonly string[]): Promise<void> {
    const { words, at } = findCommand(argv);
    const args = await this.#addCommands(words, argv.slice(at));
    await this.#program.parseAsync([...argv.slice(0, at), ...args], { from: 'user' });
  }

  report(error: unknown): ExitCode {
    const { stderr } = this.#world;
    if (error instanceof CommanderError) return this.#reportUsage(error);
    if (error instanceof CliError) {
      if (error.message !== '') stderr.write(`${error.message}\n`);
      return error.code;
    }
    stderr.write(`${describeError(error)}\n`);
    return 1;
  }

  close(): void {
    this.#client?.close();
  }

  #newProgram(): Command {
    const program = new Command('tscluster');
    program
      .description(
        'A container cluster orchestrator: services, nodes, secrets and stacks, the way Docker Swarm words them',
      )
      .usage('[OPTIONS] COMMAND')
      .option('-H, --host <address>', `Daemon to talk to (env TSCLUSTER_HOST, default ${defaultHost})`)
      .option('-v, --version', 'Print the version of this client')
      .enablePositionalOptions()
      .helpCommand(false)
      .helpOption('--help', 'Show help')
      .exitOverride()
      .configureOutput({
        writeOut: (text) => this.#world.stdout.write(text),
        writeErr: (text) => this.#world.stderr.write(text),
        outputError: () => {},
      });
    program.action(async (options: { version?: true }) => {
      if (options.version === undefined) return program.outputHelp();
      const { clientVersion } = await import('./system/client-version.ts');
      this.#world.stdout.write(`tscluster version ${clientVersion()}\n`);
    });
    return program;
  }

  /** Defines the command tree; only the verb that was asked for gets its flags. Returns the words to parse. */
  async #addCommands(words: readonly string[], args: readonly string[]): Promise<readonly string[]> {
    let parsed = args;
    for (const verb of topVerbs) {
      if (matches(verb, words[0]))
        parsed = [args[0] ?? '', ...(await this.#loadVerb(this.#program, verb, args.slice(1)))];
      else this.#program.command(verb.name).description(verb.summary);
    }
    for (const noun of nouns) {
      const command = this.#program
        .command(noun.name)
        .description(noun.summary)
        .usage('COMMAND')
        .enablePositionalOptions();
      if (noun.name === words[0]) parsed = await this.#addVerbs(command, noun, args);
    }
    if (words[0] !== undefined && parsed === args && !this.#isKnown(words[0])) {
      throw unknownCommand('tscluster', words[0], [...topVerbs, ...nouns]);
    }
    return parsed;
  }

  #isKnown(word: string): boolean {
    return [...topVerbs, ...nouns].some((entry) => entry.name === word);
  }

  async #addVerbs(command: Command, noun: Noun, args: readonly string[]): Promise<readonly string[]> {
    this.#command = command;
    command.action(() => command.outputHelp());
    let parsed = args;
    for (const verb of noun.verbs) {
      if (!matches(verb, args[1])) command.command(verb.name).description(verb.summary);
      else parsed = [args[0] ?? '', verb.name, ...(await this.#loadVerb(command, verb, args.slice(2)))];
    }
    const word = args[1];
    if (parsed === args && word !== undefined && !word.startsWith('-')) {
      throw unknownCommand(`tscluster ${noun.name}`, word, noun.verbs);
    }
    return parsed;
  }

  async #loadVerb(parent: Command, verb: Verb, args: readonly string[]): Promise<string[]> {
    const { define } = await verb.load();
    const command = parent.command(verb.name).aliases([...(verb.aliases ?? [])]);
    command.description(verb.summary);
    this.#command = command;
    define(command, this.#context(command));
    const hasHost = command.options.some((option) => option.long === '--host');
    command.addOption(new Option(hasHost ? '-H <address>' : '-H, --host <address>', 'Daemon to talk to').hideHelp());
    command.passThroughOptions(verb.trailingCommand === true);
    return normalizeFlags(command, args, { interspersed: verb.trailingCommand !== true });
  }

  #context(command: Command): Context {
    const session = this;
    const host = () => {
      const own = command.options.find((option) => option.short === '-H');
      const given: unknown = (own && command.opts()[own.attributeName()]) ?? this.#program.opts()['host'];
      return typeof given === 'string' ? given : this.#world.env['TSCLUSTER_HOST'] || defaultHost;
    };
    return {
      ...this.#world,
      host,
      async client() {
        session.#client ??= await session.#world.createClient(host());
        return session.#client;
      },
      fail(code) {
        session.exitCode = code;
      },
    };
  }

  #reportUsage(error: CommanderError): ExitCode {
    if (error.exitCode === 0 || error.code === 'commander.help') return 0;
    const { stderr } = this.#world;
    const isArgumentCount = error.code === 'commander.missingArgument' || error.code === 'commander.excessArguments';
    const message = isArgumentCount ? argumentError(this.#command) : flagError(error);
    stderr.write(`${message}\n\n${usageHint(this.#command)}\n`);
    return isArgumentCount ? 1 : flagErrorCode;
  }
}

function unknownCommand(parent: string, word: string, known: readonly (Verb | Noun)[]): CliError {
  const near = suggestion(
    word,
    known.map((entry) => entry.name),
  );
  const hint = near === undefined ? '' : `\n\nDid you mean: ${parent} ${near}`;
  return new CliError(
    `Error: unknown command: ${parent} ${word}${hint}\n\nRun '${parent} --help' for more information`,
  );
}

function flagError(error: CommanderError): string {
  const text = error.message.replace(/^error: /, '');
  const unknown = /^unknown option '([^']*)'/.exec(text)?.[1];
  if (unknown !== undefined) {
    const flag = unknown.replace(/=.*$/s, '');
    const hint = /\(Did you mean ([^?]*)\?\)/.exec(text)?.[1];
    return `Error: unknown flag: ${flag}${hint === undefined ? '' : ` (did you mean ${hint}?)`}`;
  }
  const missing = /^option '(?:-\w, )?(--?[\w-]+)[^']*' argument missing/.exec(text)?.[1];
  if (missing !== undefined) return `Error: flag needs an argument: ${missing}`;
  const invalid = /^option '(?:-\w, )?(--?[\w-]+)[^']*' argument '(.*)' is invalid\. (.*)$/s.exec(text);
  if (invalid !== null) return `Error: invalid argument "${invalid[2]}" for "${invalid[1]}" flag: ${invalid[3]}`;
  return `Error: ${text}`;
}
