export interface Result {
  readonly case: string;
  readonly value: number;
  readonly unit: 'ms' | '1/s';
  readonly ratio?: number;
  readonly must?: string;
  readonly note?: string;
}
