"""Uses the add-on in Thunderbird without a screen: opens a message, reads the button, opens the popup, and clicks.

Usage: thunderbird_add_on.py PROGRAM FOLDER ADD_ON MESSAGE CLICK...

The folder is the home. Each CLICK is the action of a button. Prints what the button and the popup say: first, and after
each click.
"""

import json
import pathlib
import sys

from marionette import Thunderbird

program, folder, add_on, message, *clicks = sys.argv[1:]

OPEN = """
const [raw, done] = arguments;
(async () => {
  const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
  const { MailUtils } = ChromeUtils.importESModule("resource:///modules/MailUtils.sys.mjs");
  const root = MailServices.accounts.localFoldersServer.rootFolder.QueryInterface(Ci.nsIMsgLocalMailFolder);
  const inbox = root.createLocalSubfolder("Letters").QueryInterface(Ci.nsIMsgLocalMailFolder);
  MailUtils.displayMessage(inbox.addMessage(raw));
  done("opened");
})().catch(error => done(String(error)));
"""

# What the button says, once it says this class.
LABEL = """
const [wanted, done] = arguments;
(async () => {
  const window = Services.wm.getMostRecentWindow("mail:3pane");
  const tabs = window.document.getElementById("tabmail");
  const id = "mailstamp_mailstamp_example-messageDisplayAction-toolbarbutton";
  for (;;) {
    const button = tabs.currentAboutMessage?.document.getElementById(id);
    const label = button?.getAttribute("label");
    if (label === wanted) {
      return done([label, button.getAttribute("tooltiptext")]);
    }
    await new Promise(resolve => window.setTimeout(resolve, 20));
  }
})().catch(error => done([String(error), ""]));
"""

# Opens the popup, clicks one of its buttons if asked, and returns what it says then.
POPUP = """
const [click, done] = arguments;
(async () => {
  const window = Services.wm.getMostRecentWindow("mail:3pane");
  const tabs = window.document.getElementById("tabmail");
  const id = "mailstamp_mailstamp_example-messageDisplayAction-toolbarbutton";
  const later = () => new Promise(resolve => window.setTimeout(resolve, 20));
  const button = () => tabs.currentAboutMessage?.document.getElementById(id);
  // The message is shown, and the add-on has asked about it.
  while ((button()?.getAttribute("label") ?? "Stamp") === "Stamp") {
    await later();
  }
  const about = tabs.currentAboutMessage;
  button().click();
  const find = () => [about, window].map(it => it.document.querySelector("browser.webextension-popup-browser"))
    .find(it => it?.currentURI?.spec.endsWith("popup.html"));
  while (!find()) {
    await later();
  }
  const browser = find();
  const script = `
    const click = ${JSON.stringify(click)};
    const page = content.document;
    const text = id => page.getElementById(id)?.textContent ?? "";
    const until = async is => { while (!is()) await new Promise(resolve => content.setTimeout(resolve, 20)); };
    (async () => {
      const button = click && (() => page.querySelector('button[data-action="' + click + '"]'));
      await until(() => text("class") !== "");
      if (click) {
        await until(() => !button().disabled);
        button().click();
        await until(() => text("said") !== "");
      }
      const lines = ["class", "reason", "said"].map(text);
      const facts = [...page.querySelectorAll("dt")].map(it => it.textContent + "=" + it.nextSibling.textContent);
      const idle = [...page.querySelectorAll("button")].filter(it => it.disabled).map(it => it.dataset.action);
      sendAsyncMessage("popup", [...lines, facts.join(" "), idle.join(" ")]);
    })().catch(error => sendAsyncMessage("popup", [String(error)]));
  `;
  const said = new Promise(resolve => browser.messageManager.addMessageListener("popup", it => resolve(it.data)));
  browser.messageManager.loadFrameScript("data:text/javascript," + encodeURIComponent(script), false);
  const answer = await said;
  browser.closest("panel").hidePopup();
  while (find()) {
    await later();
  }
  done(answer);
})().catch(error => done([String(error)]));
"""

settings = {"mail.openMessageBehavior": 2}
with Thunderbird(program, folder, settings) as thunderbird:
    thunderbird.call("Addon:Install", {"path": add_on, "temporary": True})
    opened = thunderbird.run(OPEN, pathlib.Path(message).read_bytes().decode("latin-1"))
    if opened != "opened":
        sys.exit(opened)
    for click in [None, *clicks]:
        said = thunderbird.run(POPUP, click)
        if len(said) != 5:
            sys.exit(f"the popup: {said}")
        label, title = thunderbird.run(LABEL, said[0])
        if label != said[0]:
            sys.exit(label)
        print(json.dumps([*said, title]))
