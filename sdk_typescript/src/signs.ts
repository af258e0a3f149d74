/** Signs of life of long work: the first is sent at once, then one a second at most, with the latest text. */

import { clip } from "./errors.js";

const SPACING_MS = 1000;
const MAX_TEXT_BYTES = 256;

/** Those of one lease. @internal */
export class Signs {
  #text: string | undefined; // to be sent
  #timer: NodeJS.Timeout | undefined; // runs for a second after each that was sent
  #write: ((text: string) => void) | undefined;
  #isOver = false;

  /** Takes a sign of life. Before `open` it waits. */
  give(text: string): void {
    if (typeof text !== "string") throw new TypeError(`progress(text): a text, got ${typeof text}`);
    this.#text = clip(text, MAX_TEXT_BYTES);
    this.#send();
  }

  /** Sends from now on: Ready was sent. */
  open(write: (text: string) => void): void {
    this.#write = write;
    this.#send();
  }

  /** Ends with the lease: nothing is sent any more. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #send(): void {
    if (this.#text === undefined || this.#write === undefined || this.#timer !== undefined || this.#isOver) return;
    this.#write(this.#text);
    this.#text = undefined;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#send();
    }, SPACING_MS);
  }
}
