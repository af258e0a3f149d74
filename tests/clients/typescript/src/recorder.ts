/**
 * The lambda of the chaos runs: it records all its calls, and fails at records that ask for it. Its settings and its
 * events are those of tests/chaos/recorder.py.
 */

import { closeSync, fstatSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import {
  LambdaCloseType,
  serve,
  type IContext,
  type IPartitionLambda,
  type ISettings,
  type Message,
} from "kafka-sidecar-sdk";
import { Journal } from "./journal.js";

interface Failing {
  readonly fail?: "raise" | "restart";
  readonly attempts?: number;
}

interface Recording {
  readonly folder: string;
  readonly slot: unknown;
  readonly every: number;
  readonly idleMs: number;
}

const REASONS: Record<LambdaCloseType, string> = {
  [LambdaCloseType.Stop]: "stopped",
  [LambdaCloseType.Rebalance]: "rebalanced",
  [LambdaCloseType.Error]: "error",
  [LambdaCloseType.ActivityTimeout]: "idle",
};

/** The lambda of one partition. */
class Recorder implements IPartitionLambda {
  #last = -1;
  #since = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly recording: Recording,
    private readonly context: IContext,
    private readonly journal: Journal,
    private readonly lease: string,
  ) {
    const { slot } = recording;
    this.#note("created", {
      slot,
      attempt: context.attempt,
      start: context.startOffset ?? null,
      lane: context.lane,
      state: String(context.state),
    });
  }

  handler(message: Message): undefined {
    const record = JSON.parse(String(message.value ?? "{}")) as Failing;
    if (record.fail !== undefined && this.#fails(record, message.offset)) return;
    this.#note("handled", { offset: message.offset });
    this.#last = message.offset;
    this.#since += 1;
    clearTimeout(this.#timer);
    if (this.#since >= this.recording.every) {
      this.#checkpoint();
    } else {
      this.#timer = setTimeout(() => {
        this.#checkpoint();
      }, this.recording.idleMs);
    }
  }

  close(closeType: LambdaCloseType): void {
    clearTimeout(this.#timer);
    this.#note("closing", { reason: REASONS[closeType] });
    // Checkpoint the last batch in half of the cases only: an end without it must be correct too.
    if (closeType !== LambdaCloseType.Error && Math.abs(this.#last % 2) === 0) this.#checkpoint();
    this.#note("closed", {});
  }

  #checkpoint(): void {
    if (this.#since === 0) return;
    this.#since = 0;
    // Written first, so that the sidecar never knows more than the history.
    this.#note("checkpointed", { offset: this.#last });
    this.context.checkpoint(this.#last, String(this.#last));
  }

  #fails({ fail, attempts }: Failing, offset: number): boolean {
    if (attempts !== undefined && this.#counted(offset) > attempts) return false;
    const critical = fail === "raise";
    this.#note("failed", { offset, critical });
    const error = new Error(`record ${String(offset)} asks for it`);
    if (critical) throw error;
    this.context.error(error, { restart: true, offset });
    return true;
  }

  /** The number of attempts at this record in all processes, this one included. */
  #counted(offset: number): number {
    const name = `${String(this.context.partition)}-${String(offset)}`;
    const file = openSync(join(this.recording.folder, "failures", name), "a", 0o600);
    try {
      writeSync(file, ".");
      return fstatSync(file).size;
    } finally {
      closeSync(file);
    }
  }

  #note(kind: string, fields: Record<string, unknown>): void {
    this.journal.write(kind, {
      lease: this.lease,
      partition: this.context.partition,
      ...fields,
    });
  }
}

function recordingOf(settings: ISettings): Recording {
  return {
    folder: String(settings.get("folder")),
    slot: settings.get("slot") as unknown,
    every: Number(settings.get("every") ?? 10),
    idleMs: Number(settings.get("idle") ?? 0.05) * 1000,
  };
}

await serve(process.argv[2] ?? "recorder", {
  create: (settings) => {
    const recording = recordingOf(settings);
    const label = String(settings.get("label"));
    const journal = new Journal(join(recording.folder, "history", `lambda-${label}.jsonl`));
    let made = 0;
    journal.write("started", { pid: process.pid });
    return {
      create: (_, context) => new Recorder(recording, context, journal, `${label}.${String(++made)}`),
      dispose: () => {
        journal.write("disposed", {});
      },
    };
  },
});
