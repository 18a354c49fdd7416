"""Part `gateway` of benches/compare: mail through the gateway to a real Postfix, and to the same Postfix straight; and a message
that is paid for, between two gateways with an agency. It needs root and the Debian package postfix.
"""

import json
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

from milter import MESSAGES, RECIPIENT, drained, free_port, postfix, running

SESSIONS = 20
RECIPIENTS = 1_000
AGENCY = "agency.example"
XCLIENT = "smtpd_authorized_xclient_hosts = 127.0.0.0/8\nsmtpd_recipient_limit = 2000\ndefault_process_limit = 200\n"


def source(port, message, *more):
    """The seconds of smtp-source."""
    argv = ["smtp-source", "-f", "bob@y.example", "-t", RECIPIENT, "-F", message, *more, f"inet:127.0.0.1:{port}"]
    began = time.perf_counter()
    subprocess.run(argv, check=True)
    return time.perf_counter() - began


class Side:
    """A host with a gateway, its bank, and an account at the agency."""

    def __init__(self, home, folder, name):
        self.program, self.folder, self.name = home.program, folder / name, name
        (self.folder / ".config/mailstamp").mkdir(parents=True)
        self.config = self.folder / ".config/mailstamp/config.toml"
        self.config.write_text('addresses = ["postmaster@x.example"]\n')
        self.config.chmod(0o600)
        self.environment = {"HOME": str(self.folder), "PATH": "/usr/bin:/bin"}

    def call(self, *arguments, stdin=b""):
        done = subprocess.run([self.program, *arguments], input=stdin, capture_output=True, env=self.environment)
        if done.returncode != 0:
            sys.exit(f"{arguments}: status {done.returncode}: {done.stderr.decode()}")
        return done.stdout

    def join(self, agency, document, at, limit):
        """Opens an account, and takes a licence."""
        agency.call("vendor", "account", "add", self.name, "--contact", f"{self.name}@x.example")
        if limit:
            agency.call("vendor", "credit", self.name, str(limit), "--reference", self.name)
        key = agency.call("vendor", "account", "key", self.name, "--add", "bench")
        self.call("trust", "add", "-", stdin=document)
        self.call("account", "add", "shop", "--url", f"http://127.0.0.1:{at}", "--vendor", AGENCY, "--offline", stdin=key)
        self.call("bank", "init", "--agency", AGENCY, "--account", "shop")
        self.call("bank", "license", str(limit))

    def gateway(self, at, tables):
        self.config.write_text(f'addresses = ["*@x.example"]\n[gateway]\nname = "{self.name}.example"\n{tables}')
        return running([self.program, "gateway"], at, f"gateway {self.name}", env=self.environment, stderr=subprocess.DEVNULL)


def send_one(at, number, mailboxes, is_lmtp):
    """Sends a message to these mailboxes, with pipelining. Returns the seconds."""
    text = (f"From: bob@y.example\r\nTo: all@x.example\r\nDate: Mon, 30 Nov 2026 12:00:00 +0000\r\n"
            f"Message-ID: <{number}@y.example>\r\nSubject: all\r\n\r\n" + "The quick brown fox.\r\n" * 150)
    with socket.create_connection(("127.0.0.1", at)) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = stream.makefile("rb")

        def read(code, count=1):
            for _ in range(count):
                while (line := replies.readline().decode())[3:4] == "-":
                    pass
                if not line.startswith(code):
                    sys.exit(f"{code} was expected: {line}")

        began = time.perf_counter()
        read("220")
        stream.sendall(b"LHLO y.example\r\n" if is_lmtp else b"EHLO y.example\r\n")
        read("250")
        for start in range(0, len(mailboxes), 100):
            mail = "MAIL FROM:<bob@y.example>\r\n" if start == 0 else ""
            group = mailboxes[start:start + 100]
            stream.sendall((mail + "".join(f"RCPT TO:<{it}>\r\n" for it in group)).encode())
            read("250", len(group) + bool(mail))
        stream.sendall(b"DATA\r\n")
        read("354")
        stream.sendall(f"{text}.\r\n".encode())
        read("250", len(mailboxes) if is_lmtp else 1)
        took = time.perf_counter() - began
        stream.sendall(b"QUIT\r\n")
        read("221")
    return took


def paid(home, folder, inner, ratio, rounds):
    """A message to 1,000 mailboxes with a price, between two gateways, beside one to as many without a price."""
    agency, payer, payee = (Side(home, folder, name) for name in ("agency", "payer", "payee"))
    document = agency.call("vendor", "init", "--vendor", AGENCY, "--kid", "1", "--price", "0.001 EUR")
    agency.call("vendor", "terms", "--meters", "1000000000")
    at, out, into, free = (free_port() for _ in range(4))
    serve = [home.program, "vendor", "serve", "--listen", f"127.0.0.1:{at}", "--key-rate", "0", "--address-rate", "0"]
    with running(serve, at, "mailstamp vendor serve", env=agency.environment, stderr=subprocess.DEVNULL):
        limit = (rounds + 1) * RECIPIENTS
        payer.join(agency, document, at, limit)
        payee.join(agency, document, at, 0)
        directory = urllib.request.urlopen(f"http://127.0.0.1:{at}/.well-known/digital-stamp").read()
        (payee.config.parent / "vendors/directory.json").write_bytes(directory)
        table = '[gateway.inbound]\nlisten = "127.0.0.1:{}"\ninner = "127.0.0.1:{}"\nhelp = "https://x.example/mail"\nprice = {}\n'
        route = (f'[gateway.outbound]\nlisten = "inet:127.0.0.1:{out}"\ntls = "off"\nmax_message = {RECIPIENTS}\n'
                 f'max_day = {limit}\n[gateway.outbound.routes]\n"x.example" = "127.0.0.1:{into}"\n'
                 f'"free.x.example" = "127.0.0.1:{free}"\n')
        asks = table.format(into, inner, 1) + f"meter_exposure = {limit}\n"
        other = Side(home, folder, "free")
        with payer.gateway(out, route), payee.gateway(into, asks), other.gateway(free, table.format(free, inner, 0)):
            ways = {"straight": (inner, False, "x"), "free": (out, True, "free.x"), "paid": (out, True, "x")}
            times = {way: [] for way in ways}
            for number in range(rounds + 1):
                for way in random.sample(sorted(times), len(times)):
                    port, is_lmtp, domain = ways[way]
                    mailboxes = [f"r{it}@{domain}.example" for it in range(RECIPIENTS)]
                    times[way].append(send_one(port, f"{way}{number}", mailboxes, is_lmtp))
                    drained(folder)
        spent = json.loads(payer.call("bank", "balance", "--json"))
    median = {way: statistics.median(each[1:]) for way, each in times.items()}
    if spent["licensed"]:
        sys.exit(f"not each message was paid: {spent}")
    if os.environ.get("MAILSTAMP_BENCH_TIMES"):
        print({way: [round(it, 3) for it in each] for way, each in times.items()}, file=sys.stderr)
    ratio(f"a message to {RECIPIENTS:,} mailboxes with a price, against as many without one, both through two gateways",
          median["paid"] / median["free"], 2)
    ratio("the same, against Postfix straight", median["paid"] / median["straight"], None)


def measure(home, tell, ratio, rounds):
    folder = home.folder / "gateway"
    folder.mkdir()
    # Postfix's user passes through.
    for place in (home.folder, folder):
        place.chmod(0o755)
    message = home.mail()
    with postfix(folder, {"direct": None, "inner": None}) as ports:
        with (folder / "etc/main.cf").open("a") as main:
            main.write(XCLIENT)
        subprocess.run(["postfix", "-c", folder / "etc", "reload"], check=True, stderr=subprocess.DEVNULL)
        at, config = free_port(), folder / "gateway.toml"
        config.write_text(f'addresses = ["*@x.example"]\nstate = "{folder}/state"\n[gateway.inbound]\nlisten = "127.0.0.1:{at}"\n'
                          f'inner = "127.0.0.1:{ports["inner"]}"\nhelp = "https://x.example/mail"\n')
        (folder / "state").mkdir(mode=0o700)
        argv = [home.program, "--config", config, "gateway"]
        with running(argv, at, "mailstamp gateway", env=home.environment("gateway"), stderr=subprocess.DEVNULL):
            ways = {"direct": ports["direct"], "gateway": at}
            loads = {"messages": ("-m", str(MESSAGES), "-s", str(SESSIONS)),
                     "recipients": ("-m", "5", "-s", "1", "-r", str(RECIPIENTS))}
            times = {(load, way): [] for load in loads for way in ways}
            for _ in range(rounds + 1):
                for load, way in random.sample(sorted(times), len(times)):
                    times[load, way].append(source(ways[way], message, *loads[load]))
                    drained(folder)
        paid(home, folder, ports["inner"], ratio, rounds)
    # The first round warms up.
    median = {key: statistics.median(each[1:]) for key, each in times.items()}
    rate = MESSAGES / median["messages", "gateway"]
    share = median["messages", "direct"] / median["messages", "gateway"]
    tell(f"messages a second to mailboxes without a price, {SESSIONS} connections: {rate:,.0f}, against Postfix straight",
         f"{share:.2f}", "≥ 0.6", share >= 0.6)
    ratio(f"a message to {RECIPIENTS:,} mailboxes without a price, against Postfix straight",
          median["recipients", "gateway"] / median["recipients", "direct"], 2)


if __name__ == "__main__":
    raise SystemExit(f"{pathlib.Path(__file__).name}: run benches/compare gateway")
