/**
 * One end of a long-lived bidirectional message stream. gRPC implements it in `src/rpc`, the simulator in memory.
 * Handlers are called in order and never concurrently. After `onClose` nothing more arrives.
 */
export interface Duplex<Out, In> {
  /** Queues a message. Returns false once the stream is closed or its bounded queue is full (the stream then closes). */
  send(message: Out): boolean;
  onMessage(handle: (message: In) => void): void;
  /** Called once, with the error that ended the stream, or undefined for a clean end. */
  onClose(handle: (error: Error | undefined) => void): void;
  /** Ends the stream; an error is told to the other end. */
  close(error?: Error): void;
}
