"""Sends one message by Thunderbird without a screen: a fresh profile with one server, by STARTTLS or TLS, and a login.

Usage: thunderbird.py PROGRAM FOLDER AUTHORITY PORT TLS USER PASSWORD SENDER RECIPIENT

A script in Thunderbird gives its composer a message.
"""

import pathlib
import sys

from marionette import Thunderbird

program, folder, authority, port, tls, user, password, sender, recipient = sys.argv[1:]

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

settings = {
    "mail.account.account1.identities": "id1",
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
with Thunderbird(program, folder, settings) as thunderbird:
    authority = pathlib.Path(authority).read_text()
    print(*thunderbird.run(SCRIPT, authority, user, password, sender, recipient))
