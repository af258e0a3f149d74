/** How many messages after the partition's checkpoint are done. Pure. */

interface Entry {
  readonly offset: number;
  readonly bytes: number;
  done: boolean;
}

export class Beyond {
  count = 0;
  bytes = 0;
  #entries: Entry[] = []; // in the order of offsets; those before #first are passed
  #first = 0;
  #open = new Map<string, Entry[]>(); // by document: what is not done
  #passed = -1;

  /** A message was delivered to this document. A message of no document is done. */
  delivered(offset: number, bytes: number, document: string | undefined): void {
    if (offset <= this.#passed) return;
    const entry = { offset, bytes, done: false };
    this.#entries.push(entry);
    if (document === undefined) this.#finish(entry);
    else if (this.#open.get(document)?.push(entry) === undefined) this.#open.set(document, [entry]);
  }

  /** A document has checkpointed: its messages up to this offset are done. */
  done(document: string, offset: number): void {
    const open = this.#open.get(document) ?? [];
    let index = 0;
    for (; index < open.length; index += 1) {
      const entry = open[index];
      if (entry === undefined || entry.offset > offset) break;
      this.#finish(entry);
    }
    open.splice(0, index);
    if (open.length === 0) this.#open.delete(document);
  }

  /** The partition's checkpoint is at this offset. */
  passed(offset: number): void {
    this.#passed = Math.max(this.#passed, offset);
    for (; this.#first < this.#entries.length; this.#first += 1) {
      const entry = this.#entries[this.#first];
      if (entry === undefined || entry.offset > offset) break;
      this.#finish(entry); // it counts no more, also where its document says later that it is done
      this.count -= 1;
      this.bytes -= entry.bytes;
    }
    if (this.#first > 1024 && this.#first * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#first);
      this.#first = 0;
    }
  }

  /** What is not checkpointed is delivered again. */
  clear(): void {
    this.count = this.bytes = this.#first = 0;
    this.#entries = [];
    this.#open.clear();
  }

  #finish(entry: Entry): void {
    if (entry.done) return;
    entry.done = true;
    this.count += 1;
    this.bytes += entry.bytes;
  }
}
