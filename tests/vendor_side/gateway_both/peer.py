#!/usr/bin/python3
"""A mail client that pays and a mail server that is paid, written from mailstamp-emstamp(5), and from the section Meters of
mailstamp-vendor(8) for what the agency is asked, alone. Tokens and IDs are those of tests/core/emstamp_peer.py. Uses nothing but
Python's own library.

Arguments: a folder for its journal, the URL of the agency, its name, its public key, and the API key of the account. Reads one
JSON object with a member `do` from each line of standard input, and writes the answer as one line.
"""

import hashlib
import json
import os
import pathlib
import secrets
import socket
import socketserver
import sys
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "core"))
import emstamp_peer as emstamp  # noqa: E402

FOLDER, URL, AGENCY, AGENCY_KEY, API = sys.argv[1:]


class Journal:
    """Notes that are on the disk when `note` returns, and a chain over them."""

    def __init__(self, name):
        self.file = open(pathlib.Path(FOLDER) / name, "ab")
        self.number, self.hash = 0, bytes(32)

    def note(self, *each):
        for it in each:
            line = json.dumps(it).encode()
            self.number, self.hash = self.number + 1, hashlib.sha256(self.hash + line).digest()
            self.file.write(line + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def head(self):
        return f"{self.number}:{self.hash.hex()}"


def parts(token):
    """Payload, signature and footer of a token of any length."""
    _, _, body, footer = token.split(".")
    body, footer = emstamp.decode(body), emstamp.decode(footer)
    return body[:-64], body[-64:], footer


def opened(token, assertion):
    """The payload of a token of the agency."""
    payload, signature, footer = parts(token)
    key = emstamp.decode(AGENCY_KEY.removeprefix("k4.public."))
    assert emstamp.is_signed(key, emstamp.pae(b"v4.public.", payload, footer, assertion), signature), token
    return json.loads(payload)


def ask(method, path, fields=None, body=None):
    request = urllib.request.Request(URL + path, body, fields or {}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{path}: {error.code} {error.read()}") from None


class Account:
    """An account at the agency, with a meter."""

    def __init__(self):
        self.seed, self.journal = os.urandom(32), Journal("account")
        public = emstamp.public_key(self.seed)
        self.key, self.name = "k4.public." + emstamp.encode(public), "m" + hashlib.sha256(public).hexdigest()[:16]
        self.license = {"iss": AGENCY, "kid": self.name}
        self.number = self.payee = None

    def post(self, path, body):
        self.journal.note([path, body])
        body, key = json.dumps(body).encode(), secrets.token_urlsafe(12)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        claims = {"bank": self.journal.head(), "body": hashlib.sha256(body).hexdigest(), "iat": now, "key": key}
        payload, footer = (json.dumps(it).encode() for it in (claims | {"path": f"POST {path}"}, self.license))
        signed = emstamp.pae(b"v4.public.", payload, footer, b"digital-stamp-meter-request")
        token = emstamp.encode(payload + emstamp.signature_of(self.seed, signed)) + "." + emstamp.encode(footer)
        fields = {"Authorization": f"Bearer {API}", "Content-Type": "application/json", "Idempotency-Key": key}
        answer = ask("POST", path, fields | {"Meter-Request": f"v4.public.{token}"}, body)
        receipt = opened(answer["receipt"], b"digital-stamp-receipt")
        assert (receipt["key"], receipt["request"]) == (key, claims["body"]), receipt
        assert receipt["bank"]["now"] == self.journal.head(), receipt
        return receipt

    def take_license(self, limit):
        receipt = self.post("/v1/licenses", {"key": self.key, "limit": limit, "days": 7})
        assert receipt["license"] == self.name, receipt
        self.number, self.payee = receipt["account"], f"{receipt['name']}@{AGENCY}"
        return {"payee": self.payee, "license": self.name}


def meters():
    """The meters in the agency's own directory, by their licences."""
    directory = opened(ask("GET", "/.well-known/digital-stamp")["directory"], b"digital-stamp-directory")
    vendor, = [it for it in directory["vendors"] if it["vendor"] == AGENCY]
    return {it["kid"]: it | {"not_after": emstamp.seconds(it["not_after"])} for it in vendor.get("meters", [])}


# ------------------------------------------------------------------------------------------------ the client


class Wire:
    """A connection to a server."""

    def __init__(self, at):
        host, port = at.rsplit(":", 1)
        self.stream = socket.create_connection((host, int(port)))
        self.input = self.stream.makefile("rb")

    def reply(self):
        """The lines of a reply."""
        lines = []
        while not lines or lines[-1][3:4] == "-":
            line = self.input.readline().decode()
            assert line.endswith("\r\n"), (lines, line)
            lines.append(line[:-2])
        return lines

    def say(self, *lines):
        """Sends a group of commands, and returns the replies."""
        self.stream.sendall("".join(line + "\r\n" for line in lines).encode())
        return [self.reply() for _ in lines]


class Client:
    def __init__(self, account):
        self.account, self.journal = account, Journal("client")
        # Lines EMST by message and mailbox, once they are written down.
        self.lines = {}

    def pay(self, message, mailbox, offer, signed):
        """The line for an offer: that of the first time the message was sent to the mailbox, if there was one."""
        name = message, emstamp.canonical(mailbox)
        if name not in self.lines:
            line = emstamp.pay(offer, mailbox, offer["price"], signed, self.account.seed, self.account.license)
            self.journal.note([message.hex(), mailbox, offer, line])
            self.lines[name] = line
        return self.lines[name]

    def send(self, given):
        text, wire = given["message"].replace("\n", "\r\n"), Wire(given["at"])
        message = emstamp.fingerprint(text)
        signed = emstamp.fingerprint(given.get("signed", given["message"]))
        assert wire.reply()[-1].startswith("220 ")
        hello, = wire.say("EHLO py.example")
        keywords = {line[4:].split(" ")[0].upper(): line[4:].split(" ")[1:] for line in hello[1:]}
        assert "PIPELINING" in keywords and "1" in keywords["EMSTAMP"], hello
        recipients = given["to"]
        mail, *named = wire.say(f"MAIL FROM:<{given['from']}> EMSTAMP", *(f"RCPT TO:<{it}>" for it in recipients))
        assert mail[-1].startswith("250 "), mail
        offers = {box: emstamp.read_offer(reply[-1]) for box, reply in zip(recipients, named)}
        lines = [self.pay(message, box, offer, signed) for box, offer in offers.items() if offer]
        # Nothing is pipelined behind DATA.
        *paid, data = wire.say(*lines, "DATA")
        answer = {"offers": offers, "named": named, "lines": lines, "paid": [it[-1] for it in paid], "data": data[-1]}
        if data[-1].startswith("354"):
            dotted = text.replace("\r\n.", "\r\n..")
            wire.stream.sendall(f"{dotted}.\r\n".encode())
            answer["answer"] = wire.reply()[-1]
        wire.say("QUIT")
        return answer

    def check(self, given):
        """What the agency says of a payment."""
        name = emstamp.payment(self.account.number, given["mailbox"], emstamp.fingerprint(given["message"]))
        until = emstamp.written(int(time.time()) + 3600)
        receipt = self.account.post("/v1/checkpoints", {"open": [{"payment": name.hex(), "until": until}]})
        return {"open": receipt["open"], "rest": receipt["licenses"][0]["rest"]}


# ------------------------------------------------------------------------------------------------ the server


class Server:
    """Names prices, takes tokens, and keeps messages. `drop` and `forget` are how often it ends the connection in place of the
    reply to a message that it took, and how often it forgets an ID that was not used."""

    def __init__(self, account):
        self.account, self.journal = account, Journal("server")
        self.lock = threading.Lock()
        self.prices, self.meters = {}, {}
        # What IDs were given out for; mailbox and message of those that were used; what is not cleared, by licence.
        self.offers, self.used, self.exposed = {}, {}, {}
        self.messages, self.lines, self.tokens, self.copies = [], [], [], 0
        self.drop = self.forget = 0

    def listen(self, given):
        self.prices = given["prices"]
        server = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                Session(server, self.rfile, self.wfile).serve()

        socketserver.ThreadingTCPServer.daemon_threads = True
        listener = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        return {"port": listener.server_address[1]}

    def offer(self, mailbox, price):
        name, end = "py_" + secrets.token_urlsafe(16), int(time.time()) + 3600
        self.offers[name] = emstamp.canonical(mailbox), price, end
        return emstamp.write_offer({"price": price, "id": name, "end": end, "payee": self.account.payee})

    def issued(self, name, mailbox, price):
        """The end of an ID of this server."""
        if self.forget and name in self.offers:
            self.forget -= 1
            del self.offers[name]
        known = self.offers.get(name)
        if known is None or known[:2] != (emstamp.canonical(mailbox), price) or known[2] < time.time():
            raise emstamp.RENEW
        return known[2]

    def examine(self, line, open_recipients):
        """The reply to EMST, the mailbox that it pays, and the payment."""
        words = line.split(" ")
        if len(words) == 4 and words[1] in self.used:
            # Before its end, its signature and its licence are looked at.
            claims = emstamp.json_object(emstamp.parts(words[3])[0])
            it = {"mailbox": emstamp.canonical(claims["aud"]), "message": emstamp.decode(claims["msg"]).hex(), "id": words[1]}
            if self.used[words[1]] != (it["mailbox"], it["message"]):
                raise emstamp.BAD
            return "250 2.1.5 again", it
        license = emstamp.json_object(emstamp.parts(words[-1])[2]).get("kid")
        if license not in self.meters:
            self.meters = meters()
        known = {"now": int(time.time()), "payee": self.account.payee, "agencies": {AGENCY: self.meters}}
        it = emstamp.examine(line, known | {"recipients": open_recipients}, self.issued)
        # A tenth of a limit, before the agency has cleared it.
        if self.exposed.get(license, 0) + it["credits"] > self.meters[license]["limit"] // 10:
            raise emstamp.LATER
        return "250 2.1.5 paid", it | {"id": words[1], "license": license, "token": words[3]}

    def take(self, session, text):
        """The reply to a message; None ends the connection."""
        message = emstamp.fingerprint(text).hex()
        if any(it["message"] != message for it in session.paid.values()):
            return "550 5.7.1 a token is for another message"
        fresh = {box: it for box, it in session.paid.items() if it["id"] not in self.used}
        free = [box for box, price in session.recipients.items() if not price]
        if fresh or free:
            self.journal.note(*fresh.values(), [free, text])
            for it in fresh.values():
                self.used[it["id"]] = it["mailbox"], message
                self.exposed[it["license"]] = self.exposed.get(it["license"], 0) + it["credits"]
                self.tokens.append(it["token"])
            self.messages.append({"to": sorted([*fresh, *free]), "text": text})
        else:
            self.copies += 1
        if self.drop:
            self.drop -= 1
            return None
        return "250 2.0.0 taken"

    def clear(self, _given):
        receipt = self.account.post("/v1/clearings", {"tokens": self.tokens})
        self.exposed = {}
        return {"each": receipt["each"], "balance": receipt["balance"]}

    def told(self, given):
        self.drop, self.forget = given.get("drop", self.drop), given.get("forget", self.forget)
        return {"messages": self.messages, "lines": self.lines, "copies": self.copies}


class Session:
    def __init__(self, server, source, target):
        self.server, self.source, self.target = server, source, target
        self.is_aware, self.recipients, self.paid = False, {}, {}

    def serve(self):
        self.say("220 py.example ESMTP")
        while line := self.source.readline():
            line = line.decode().removesuffix("\r\n")
            with self.server.lock:
                self.server.lines.append(line)
                verb = line.split(" ")[0].upper()
                reply = getattr(self, "do_" + verb.lower(), lambda _: "500 5.5.2 what")(line)
            if reply is None:
                return
            self.say(reply)
            if verb == "QUIT":
                return

    def say(self, reply):
        self.target.write(f"{reply}\r\n".encode())

    def do_ehlo(self, line):
        return "250-py.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 EMSTAMP 1"

    def do_mail(self, line):
        self.is_aware, self.recipients, self.paid = line.upper().endswith(" EMSTAMP"), {}, {}
        return "250 2.1.0 ok"

    def do_rcpt(self, line):
        mailbox = line.split("<")[1].split(">")[0]
        if mailbox.startswith("gone@"):
            return "550 5.1.1 no such user"
        price = self.server.prices.get(mailbox, 0)
        if price and not self.is_aware:
            return f"550-5.7.1 <{mailbox}>: this mailbox asks {price} credits\r\n550 5.7.1 see https://py.example/mail"
        self.recipients[emstamp.canonical(mailbox)] = price
        return "250-2.1.5 ok\r\n" + self.server.offer(mailbox, price) if price else "250 2.1.5 ok"

    def do_emst(self, line):
        if not self.is_aware or not self.recipients:
            return "503 5.5.1 not now"
        to_pay = {box: price for box, price in self.recipients.items() if price and box not in self.paid}
        try:
            reply, it = self.server.examine(line, to_pay)
            if it["mailbox"] not in to_pay:
                raise emstamp.BAD
        except emstamp.Refused as refused:
            return f"{refused.args[0]} no"
        self.paid[it["mailbox"]] = it
        return reply

    def do_data(self, line):
        self.recipients = {box: price for box, price in self.recipients.items() if not price or box in self.paid}
        if not self.recipients:
            return "554 5.5.1 no recipient is left"
        self.say("354 go on")
        text = ""
        while (line := self.source.readline().decode()) != ".\r\n":
            if not line:
                return None
            text += line.removeprefix(".").replace("\r\n", "\n")
        return self.server.take(self, text)

    def do_rset(self, line):
        self.recipients, self.paid = {}, {}
        return "250 2.0.0 ok"

    def do_noop(self, line):
        return "250 2.0.0 ok"

    def do_quit(self, line):
        return "221 2.0.0 bye"


def main():
    account = Account()
    client, server = Client(account), Server(account)
    acts = {"license": lambda given: account.take_license(given["limit"]), "send": client.send, "check": client.check,
            "listen": server.listen, "clear": server.clear, "told": server.told}
    for line in sys.stdin:
        given = json.loads(line)
        print(json.dumps(acts[given["do"]](given)), flush=True)


if __name__ == "__main__":
    main()
