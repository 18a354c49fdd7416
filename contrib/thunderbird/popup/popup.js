// Shows the class of the message and why, and revokes and grants its stamp.

import { ask, shown } from "../host.js";

const text = (name, ...values) => messenger.i18n.getMessage(name, values);
const part = id => document.getElementById(id);
const buttons = [...document.querySelectorAll("button[data-action]")];
for (const button of buttons) {
  button.textContent = text(button.dataset.i18n);
}

const [{ id: tab }] = await messenger.tabs.query({ active: true, currentWindow: true });
const message = await shown(tab);

function facts(result) {
  const stamp = result.stamps[result.deciding_stamp ?? 0];
  const rows = [
    ["vendor", stamp?.vendor],
    ["value", stamp?.value],
    ["serial", stamp?.serial],
    ["rule", result.rule],
    ["action", result.action],
  ];
  const filled = rows.filter(([, value]) => value !== null && value !== undefined);
  part("facts").replaceChildren(...filled.flatMap(([name, value]) => {
    const [term, description] = [document.createElement("dt"), document.createElement("dd")];
    // As text: a sender wrote some of it.
    [term.textContent, description.textContent] = [text(name), String(value)];
    return [term, description];
  }));
}

async function judge() {
  const { result, said } = await ask("explain", message);
  part("class").textContent = result ? result.class : text("unknown");
  part("reason").textContent = result ? text("reason", result.reason, result.sentence) : said;
  if (result) {
    facts(result);
  }
  const isRevoked = result?.class === "revoked";
  const useful = {
    grant: !isRevoked && result?.reason !== "multi-use",
    revoke: !isRevoked,
    unrevoke: isRevoked,
  };
  for (const button of buttons) {
    button.disabled = !result?.stamps.length || !useful[button.dataset.action];
  }
}

for (const button of buttons) {
  button.addEventListener("click", async () => {
    buttons.forEach(it => { it.disabled = true; });
    const { result, said } = await ask(button.dataset.action, message);
    await judge();
    part("said").textContent = result ? text(`${button.dataset.action}Done`) : said;
    await messenger.runtime.sendMessage({ changed: tab });
  });
}

if (message) {
  await judge();
} else {
  part("reason").textContent = text("noMessage");
}
