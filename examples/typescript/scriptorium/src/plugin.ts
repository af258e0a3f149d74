/** The plugin: one store in a process, one lambda for each partition. */

import type { IPlugin } from "kafka-sidecar-sdk";
import { ScriptoriumLambda } from "./lambda.js";
import { settingsOf } from "./settings.js";
import { Store, type Operations } from "./store.js";

/** A plugin over this store; by default over that of the settings. It needs no database yet. */
export function scriptorium(given?: Operations): IPlugin {
  return {
    create: (config) => {
      const settings = settingsOf(config.get() as Record<string, unknown>);
      const own = given === undefined ? new Store(settings, (text) => process.emitWarning(text)) : undefined;
      const store = given ?? own;
      if (store === undefined) throw new Error("there is no store");
      return {
        create: (_, context) => new ScriptoriumLambda(store, settings, context),
        dispose: () => own?.close(),
      };
    },
  };
}
