/** The conformance lambda, which docs/conformance.md describes. It does what CONFORMANCE_DO says. */

import { setTimeout as wait } from "node:timers/promises";
import {
  LambdaCloseType,
  ProduceError,
  serve,
  type IContext,
  type IPartitionLambda,
  type ISettings,
  type Message,
  type Produced,
} from "kafka-sidecar-sdk";

const words = new Map<string, string[]>();
for (const word of (process.env["CONFORMANCE_DO"] ?? "").split(" ").filter(Boolean)) {
  const equals = word.indexOf("=");
  words.set(word.slice(0, equals), word.slice(equals + 1).split(":"));
}

/** A part of a word's value: a text, or undefined where the word is not there. */
function text(word: string, part = 0): string | undefined {
  return words.get(word)?.[part];
}

/** The same as a number. */
function number(word: string, part = 0): number | undefined {
  const value = text(word, part);
  return value === undefined ? undefined : Number(value);
}

/** Waits as a word says, without looking at any cancellation. */
async function take(ms: number | undefined): Promise<void> {
  if (ms !== undefined) await wait(ms);
}

let failuresToCome = number("fail-create") ?? 0;
let paused = false;
let settingTold = false;

/** The lambda of one partition. */
class Conforming implements IPartitionLambda {
  #sinceCheckpoint = 0;
  #told = false;
  #handled = -1;
  #beyond: { count: number; bytes: number } | undefined; // what is done after a record that is held

  constructor(
    private readonly context: IContext,
    private readonly settings: ISettings,
  ) {}

  async handler(message: Message): Promise<void> {
    const { offset } = message;
    if (text("take") === "each" || number("take") === offset) await take(number("take", 1));
    await this.#progress(offset);
    if (this.#pause(offset) || this.#fail(offset)) return;
    if (number("report") === offset) this.context.report("planned", offset);
    if (!(await this.#produce(message))) return;
    this.#checkpointAt(message);
    this.#handled = offset;
    if (number("committed") === offset) await this.#committed(message, text("committed", 1) ?? "");
  }

  async close(closeType: LambdaCloseType): Promise<void> {
    await take(number("close"));
    if (text("closing") === "1" && closeType !== LambdaCloseType.Error && this.#handled >= 0) {
      this.#checkpoint(this.#handled);
    }
  }

  async #progress(offset: number): Promise<void> {
    if (number("progress") !== offset) return;
    for (let step = 1; step <= (number("progress", 1) ?? 0); step += 1) {
      this.context.progress(String(step));
      await take(number("progress", 2));
    }
  }

  /** Pauses at the word's record; returns whether that record is to be delivered again. */
  #pause(offset: number): boolean {
    if (number("pause") !== offset || paused) return false;
    paused = true;
    const again = text("pause", 2) === "again";
    this.context.pause(again ? offset : undefined, "planned", number("pause", 1) || undefined);
    const resume = number("resume");
    if (resume !== undefined) {
      setTimeout(() => {
        this.context.resume();
      }, resume);
    }
    return again;
  }

  /** Fails at the word's record; returns whether the handler has to return. */
  #fail(offset: number): boolean {
    if (number("fail") !== offset) return false;
    const kind = text("fail", 1);
    if (kind === "raise") throw new Error("planned");
    if (kind === "lost") this.context.error("planned", { restart: true });
    else this.context.error("planned", { restart: kind === "restart", offset });
    return true;
  }

  /** Produces what the words ask for; returns whether the handler goes on. */
  async #produce(message: Message): Promise<boolean> {
    const size = number("size");
    const value = size === undefined ? message.value : Buffer.alloc(size);
    const copy = (topic: string): Promise<Produced> =>
      this.context.produce(topic, value, {
        key: message.key,
        headers: message.headers,
        ...(text("source") === "each" || number("source") === message.offset ? { source: message.offset } : {}),
      });
    const send = text("send");
    if (send !== undefined) void copy(send);
    const attempt = text("try");
    if (attempt !== undefined) await copy(attempt).catch(() => undefined);
    const [copied, described, told] = [text("copy"), text("describe"), text("setting", 1)];
    try {
      await this.#tell();
      if (copied !== undefined) await copy(copied);
      if (described !== undefined) await this.context.produce(described, description(message));
      if (told !== undefined && !settingTold) {
        settingTold = true;
        await this.context.produce(told, settingText(this.settings.get(text("setting"))));
      }
    } catch (error) {
      this.#notWritten(error, message.offset);
      return false;
    }
    return true;
  }

  #notWritten(error: unknown, offset: number): void {
    if (!(error instanceof ProduceError)) throw error;
    this.context.error(error, { restart: true, offset });
  }

  /** Produces the line of the word `tell`, once. */
  async #tell(): Promise<void> {
    const topic = text("tell");
    if (topic === undefined || this.#told) return;
    this.#told = true;
    const { lane, lanes, guarantee, state } = this.context;
    await this.context.produce(topic, `${String(lane)}/${String(lanes)} ${guarantee} ${state.toString("hex") || "''"}`);
  }

  async #committed({ offset }: Message, topic: string): Promise<void> {
    await this.context.committed(offset);
    try {
      await this.context.produce(topic, "committed");
    } catch (error) {
      this.#notWritten(error, offset);
    }
  }

  /** Checkpoints an offset with the state that the words give it. */
  #checkpoint(offset: number): void {
    const isEach = text("state") === "each";
    const state = isEach ? String(offset) : number("state") === offset ? text("state", 1) : undefined;
    if (state === undefined) {
      this.context.checkpoint(offset);
      return;
    }
    try {
      this.context.checkpoint(offset, state);
    } catch (error) {
      this.context.report(error, offset);
      this.context.checkpoint(offset);
    }
  }

  #checkpointAt(message: Message): void {
    const { offset } = message;
    const [held, holder] = [number("hold"), number("hold", 1)];
    if (offset === held) {
      this.#beyond = { count: 0, bytes: 0 };
    } else if (this.#beyond !== undefined && offset === holder) {
      this.#beyond = undefined;
      this.context.completedBeyond(0, 0);
      this.#checkpoint(offset);
      this.#sinceCheckpoint = 0;
    } else if (this.#beyond !== undefined) {
      this.#beyond.count += 1;
      this.#beyond.bytes += (message.key?.length ?? 0) + (message.value?.length ?? 0);
      this.context.completedBeyond(this.#beyond.count, this.#beyond.bytes);
    } else if (words.has("checkpoint") && ++this.#sinceCheckpoint === number("checkpoint")) {
      this.#sinceCheckpoint = 0;
      this.#checkpoint(offset);
    }
    if (number("ahead") === offset) this.#checkpoint(number("ahead", 1) ?? offset);
  }
}

function settingText(value: unknown): string {
  if (value === undefined) return "null";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** The line of the word `describe`. */
function description(message: Message): string {
  const bytes = (value: Buffer | null): string => (value === null ? "-" : value.toString("hex") || "''");
  const headers = message.headers.map(([name, value]) => `${nameBytes(name).toString("hex")}:${bytes(value)}`);
  return [
    `${message.topic}/${String(message.partition)}`,
    message.offset,
    message.timestamp ?? -1,
    message.timestampType ?? "none",
    bytes(message.key),
    bytes(message.value),
    headers.join(",") || "none",
  ].join(" ");
}

/** The bytes of a header's name, of which each that is not UTF-8 is a character from U+DC80 on. */
function nameBytes(name: string): Buffer {
  return Buffer.concat(
    Array.from(name, (char) => {
      const code = char.codePointAt(0) ?? 0;
      return code >= 0xdc80 && code <= 0xdcff ? Buffer.of(code - 0xdc00) : Buffer.from(char);
    }),
  );
}

await serve(process.env["CONFORMANCE_LAMBDA"] ?? "conformance", {
  create: async (settings) => {
    await take(number("load"));
    return {
      create: async (_, context) => {
        await take(number("create"));
        if (failuresToCome > 0) {
          failuresToCome -= 1;
          throw new Error("planned");
        }
        return new Conforming(context, settings);
      },
    };
  },
});
