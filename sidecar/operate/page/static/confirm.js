// The dialog that stands before every action: what will happen, and yes or no. And the one that asks for the token.

import { unlock } from "./api.js";
import { byId, make, setText } from "./dom.js";

// Asks; calls `act(fields)` on yes, and shows why when that fails. Resolves to what `act` returned, or to null on no.
// `fields`: elements to put into the dialog, by name.
export function confirmed({ title, text, yes, fields = {}, act }) {
  const dialog = byId("confirm");
  const form = byId("confirm-form");
  const error = byId("confirm-error");
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), yes);
  setText(error, "");
  byId("confirm-fields").replaceChildren(...Object.values(fields));
  return new Promise((resolve) => {
    let outcome = null;
    const submit = async (event) => {
      event.preventDefault();
      if (form.getAttribute("aria-busy") === "true") return;
      form.setAttribute("aria-busy", "true");
      setText(error, "");
      try {
        outcome = await act();
        dialog.close();
      } catch (refused) {
        setText(error, refused.message);
      } finally {
        form.removeAttribute("aria-busy");
      }
    };
    const no = () => dialog.close();
    form.addEventListener("submit", submit);
    byId("confirm-no").addEventListener("click", no);
    dialog.addEventListener(
      "close",
      () => {
        form.removeEventListener("submit", submit);
        byId("confirm-no").removeEventListener("click", no);
        byId("confirm-fields").replaceChildren();
        resolve(outcome);
      },
      { once: true },
    );
    dialog.showModal();
    // Not on yes: a key that is pressed once too often must not act.
    (byId("confirm-fields").querySelector("input, select") ?? byId("confirm-no")).focus();
  });
}

export function field(label, input) {
  return make("label", { class: "field" }, label, input);
}

// Resolves to whether the token was accepted.
export async function askForToken() {
  const input = make("input", { type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const outcome = await confirmed({
    title: "Allow actions",
    text:
      "Give the operators' token, server.admin_token in the sidecar's config. It is kept in this tab only, and " +
      "forgotten when the tab is closed.",
    yes: "Allow actions",
    fields: { token: field("Token", input) },
    act: async () => (await unlock(input.value.trim()), true),
  });
  return outcome === true;
}
