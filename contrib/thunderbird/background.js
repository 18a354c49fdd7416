// Writes the class of the displayed message on the button.

import { ask, shown } from "./host.js";

async function label(tab, title) {
  const name = messenger.i18n.getMessage("name");
  await messenger.messageDisplayAction.setTitle({ tabId: tab, title: title ? `${name}: ${title}` : name });
  await messenger.messageDisplayAction.setLabel({
    tabId: tab, label: title ?? messenger.i18n.getMessage("label"),
  });
}

async function show(tab) {
  const message = await shown(tab);
  if (!message) {
    await label(tab, null);
    return;
  }
  const { result } = await ask("explain", message);
  // Another message may be shown by now; its own call writes the class.
  if ((await shown(tab))?.id === message.id) {
    await label(tab, result ? result.class : messenger.i18n.getMessage("unknown"));
  }
}

messenger.messageDisplay.onMessagesDisplayed.addListener(tab => show(tab.id));
// The popup has changed what holds for the message.
messenger.runtime.onMessage.addListener(({ changed }) => show(changed));
