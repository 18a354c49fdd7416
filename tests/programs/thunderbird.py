"""Sends one message by Thunderbird without a screen: a fresh profile with one server, by STARTTLS or TLS, and a login.

Usage: thunderbird.py PROGRAM FOLDER AUTHORITY PORT TLS USER PASSWORD SENDER RECIPIENT

Marionette, the protocol of Mozilla's own tests, runs a script in Thunderbird that gives its composer a message.
"""

import json
import pathlib
import socket
import subprocess
import sys
import time

program, folder, authority, port, tls, user, password, sender, recipient = sys.argv[1:]
folder = pathlib.Path(folder)
# Longer than any machine takes.
PATIENCE = 300

SCRIPT = """
const [authority, user, password, sender, recipient, done] = arguments;
(async () => {
  const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
  const trusted = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
  trusted.addCertFromBase64(authority.replace(/-----[^-]*-----|\\s/g, ""), "C,,");
  const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
  login.init("smtp://localhost", null, "smtp://localhost", user, password, "", "");
  await Services.logins.addLoginAsync(login);
  const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
  [fields.from, fields.to, fields.subject] = [sender, recipient, "Thunderbird"];
  const listener = {
    QueryInterface: ChromeUtils.generateQI(["nsIMsgSendListener"]),
    onStartSending() {}, onProgress() {}, onStatus() {}, onGetDraftFolderURI() {},
    onSendNotPerformed(id, status) { done(["not performed", status]); },
    onTransportSecurityError(id, status, info, location) { done(["certificate of " + location, status]); },
    onStopSending(id, status) { done(["sent", status]); },
  };
  const send = Cc["@mozilla.org/messengercompose/send;1"].createInstance(Ci.nsIMsgSend);
  await send.createAndSendMessage(
    null, MailServices.accounts.getIdentity("id1"), "account1", fields, false, false, Ci.nsIMsgSend.nsMsgDeliverNow,
    null, "text/plain", "hello\\n.dot\\n", null, null, listener, "", "", Ci.nsIMsgCompType.New);
})().catch(error => done([String(error), -1]));
"""


class Driver:
    """A connection to Marionette: messages are JSON, with their length and a colon in front."""

    def __init__(self, port, process):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.05)
        self.bytes = self.stream.makefile("rb")
        self.count = 0
        self.read()

    def read(self):
        length = b""
        while not length.endswith(b":"):
            byte = self.bytes.read(1)
            if not byte:
                sys.exit("Thunderbird closed the connection")
            length += byte
        return json.loads(self.bytes.read(int(length[:-1])))

    def call(self, name, parameters):
        self.count += 1
        text = json.dumps([0, self.count, name, parameters]).encode()
        self.stream.sendall(b"%d:%s" % (len(text), text))
        _, _, error, result = self.read()
        if error:
            sys.exit(f"{name}: {error}")
        return result


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    marionette = free.getsockname()[1]
settings = {
    "marionette.port": marionette,
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.rights.version": 1,
    "mail.spotlight.firstRunDone": True,
    "mailnews.start_page.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 0,
    "mail.accountmanager.accounts": "account1",
    "mail.account.account1.identities": "id1",
    "mail.account.account1.server": "server1",
    "mail.server.server1.type": "none",
    "mail.server.server1.hostname": "Local Folders",
    "mail.server.server1.userName": "joe",
    "mail.identity.id1.fcc": False,
    "mail.identity.id1.smtpServer": "smtp1",
    "mail.identity.id1.useremail": sender,
    "mail.identity.id1.valid": True,
    "mail.smtp.defaultserver": "smtp1",
    "mail.smtpservers": "smtp1",
    # A normal password; STARTTLS is 2, and TLS from the first byte on is 3.
    "mail.smtpserver.smtp1.authMethod": 3,
    "mail.smtpserver.smtp1.hostname": "localhost",
    "mail.smtpserver.smtp1.port": int(port),
    "mail.smtpserver.smtp1.try_ssl": {"starttls": 2, "implicit": 3}[tls],
    "mail.smtpserver.smtp1.type": "smtp",
    "mail.smtpserver.smtp1.username": user,
}
profile = folder / "profile"
profile.mkdir(parents=True)
lines = [f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in settings.items()]
(profile / "user.js").write_text("".join(lines))
environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MOZ_CRASHREPORTER_DISABLE": "1"}
words = [program, "--headless", "--no-remote", "--profile", profile, "--marionette", "--remote-allow-system-access"]
with (folder / "stderr").open("w") as log:
    process = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
try:
    driver = Driver(marionette, process)
    driver.call("WebDriver:NewSession", {"capabilities": {}})
    driver.call("Marionette:SetContext", {"value": "chrome"})
    driver.call("WebDriver:SetTimeouts", {"script": PATIENCE * 1000})
    arguments = [pathlib.Path(authority).read_text(), user, password, sender, recipient]
    script = {"script": SCRIPT, "args": arguments, "newSandbox": True, "sandbox": "system"}
    print(*driver.call("WebDriver:ExecuteAsyncScript", script)["value"])
    driver.call("Marionette:Quit", {"flags": ["eForceQuit"]})
    process.wait(PATIENCE)
finally:
    process.kill()
    process.wait()
