/** Ends the command with `code` after printing `message` as it stands: for texts that Docker prints without a prefix. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: number;

  constructor(message: string, code = 1) {
    super(message);
    this.code = code;
  }
}
