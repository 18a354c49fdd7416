"""Part `milter` of benches/compare: mail through a real Postfix with one of several milters, and the memory of ours.

It needs root, and the Debian packages libmilter-dev, opendkim, opendkim-tools, postfix, python3-dkim and rspamd besides.
Postfix and the milters listen on free ports of the loopback address; everything ends with the part.
"""

import contextlib
import os
import pathlib
import random
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
MESSAGES = 1_000
SESSIONS = 8
RECIPIENT = "alice@x.example"

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}/
myhostname = mx.x.example
mydestination = x.example, free.x.example
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
local_recipient_maps =
local_transport = discard:
default_transport = error:no outside mail
alias_database =
biff = no
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
milter_default_action = tempfail
milter_protocol = 6
non_smtpd_milters =
"""

MASTER = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def connect(at):
    """To a path, or a port."""
    if isinstance(at, int):
        return socket.create_connection(("127.0.0.1", at), 600)
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(600)
    made.connect(str(at))
    return made


def wait_for(at, what):
    for _ in range(600):
        with contextlib.suppress(OSError), connect(at):
            return
        time.sleep(0.1)
    sys.exit(f"{what} does not begin")


@contextlib.contextmanager
def running(argv, at, what, **more):
    """A program that listens; it is ended at the end."""
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, umask=0, **more) as process:
        try:
            wait_for(at, what)
            yield process
        finally:
            process.terminate()


# ---------------------------------------------------------------------------------------------------- the milters

@contextlib.contextmanager
def accept_all(folder):
    program, path = folder / "accept_all", folder / "sockets/accept_all"
    subprocess.run(["cc", "-O2", "-o", program, HERE / "accept_all.c", "-lmilter", "-lpthread"], check=True)
    with running([program, f"local:{path}"], path, "accept_all"):
        yield path


@contextlib.contextmanager
def mailstamp(home, folder, state):
    """Our milter for a domain, in a daemon: (path, process)"""
    path, config = folder / f"sockets/{state}", folder / f"config-{state}"
    shutil.copytree(home.folder / ".config/mailstamp", config)
    (config / "config.toml").write_text(
        f'addresses = ["*@x.example"]\n[boundary]\nlisten = "unix:{path}"\nheld_address = "held@x.example"\n')
    environment = home.environment(state) | {"MAILSTAMP_CONFIG": str(config / "config.toml")}
    with running([home.program, "serve"], path, "mailstamp serve", env=environment, stderr=subprocess.DEVNULL) as process:
        yield path, process


@contextlib.contextmanager
def opendkim(folder, signed):
    """opendkim verifies; it reads the key from a file, and 127.0.0.1 is no host of its own."""
    path, conf = folder / "sockets/opendkim", folder / "opendkim.conf"
    conf.write_text(f"Mode v\nTestDNSData {signed.keys}\nInternalHosts 192.0.2.1\nAuthservID mx.x.example\n"
                    f"Socket local:{path}\nUMask 000\nSyslog no\n")
    with running(["/usr/sbin/opendkim", "-f", "-x", conf], path, "opendkim"):
        yield path


@contextlib.contextmanager
def rspamd(folder):
    """rspamd with its rules as Debian has them, and a name server that knows no name and says so at once."""
    local, path = folder / "rspamd", folder / "sockets/rspamd"
    for name in ("local.d", "override.d", "run", "db", "log"):
        (local / name).mkdir(parents=True)
    scanner = free_port()
    for worker, at in (("normal", f"127.0.0.1:{scanner}"), ("controller", f"127.0.0.1:{free_port()}"),
                       ("proxy", f"{path} mode=0666")):
        (local / f"override.d/worker-{worker}.inc").write_text(f'bind_socket = "{at}";\n')
    with (local / "override.d/worker-proxy.inc").open("a") as file:
        file.write(f'upstream "local" {{ default = yes; hosts = "127.0.0.1:{scanner}"; }}\n')
    subprocess.run(["chown", "-R", "_rspamd:_rspamd", local], check=True)
    with NoNames() as names:
        (local / "override.d/options.inc").write_text(f'dns {{ nameserver = ["127.0.0.1:{names.port}"]; }}\n')
        places = {"LOCAL_CONFDIR": local, "RUNDIR": local / "run", "DBDIR": local / "db", "LOGDIR": local / "log"}
        argv = ["/usr/bin/rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", "/etc/rspamd/rspamd.conf",
                *(f"--var={name}={place}" for name, place in places.items())]
        with running(argv, scanner, "rspamd"):
            wait_for(path, "rspamd")
            yield path


class NoNames:
    """A name server that answers each question with NXDOMAIN."""

    def __enter__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.answer, daemon=True).start()
        return self

    def answer(self):
        with contextlib.suppress(OSError):
            while True:
                question, client = self.socket.recvfrom(4096)
                end = 12
                while question[end]:
                    end += question[end] + 1
                self.socket.sendto(question[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + question[12:end + 5], client)

    def __exit__(self, *_):
        self.socket.close()


class Signed:
    """A message without a stamp, with a DKIM signature of 2,048 bits."""

    def __init__(self, home, folder):
        subprocess.run(["opendkim-genkey", "-b", "2048", "-d", "y.example", "-s", "sel", "-D", folder], check=True)
        record = "".join(re.findall(r'"([^"]*)"', (folder / "sel.txt").read_text()))
        self.keys, self.file = folder / "keys", folder / "signed"
        self.keys.write_text(f"sel._domainkey.y.example {record}\n")
        # The system's Python has the library.
        sign = ("import dkim,sys; m=sys.stdin.buffer.read(); sys.stdout.buffer.write("
                "dkim.sign(m,b'sel',b'y.example',open(sys.argv[1],'rb').read()).replace(b'\\r\\n',b'\\n')+m)")
        self.message = subprocess.run(["/usr/bin/python3", "-c", sign, folder / "sel.private"],
                                      input=home.mail().read_bytes()[:-1] + b"\n", stdout=subprocess.PIPE,
                                      check=True).stdout
        self.file.write_bytes(self.message)

    def with_stamp(self, stamp):
        """The same with this stamp, as DATA has it. The signature does not cover the stamp."""
        field = "Digital-Stamp:" + "".join(f"\n {stamp[at:at + 70]}" for at in range(0, len(stamp), 70)) + "\n"
        return (field.encode() + self.message).replace(b"\n", b"\r\n") + b".\r\n"


# ---------------------------------------------------------------------------------------------------- the mail system

@contextlib.contextmanager
def postfix(folder, milters):
    """A Postfix with a port for each milter, which has a socket or none, that throws all mail away. Returns the ports."""
    for part in ("etc", "spool", "data"):
        (folder / part).mkdir()
    shutil.chown(folder / "data", "postfix")
    ports = {name: free_port() for name in milters}
    services = "".join(f"127.0.0.1:{port} inet n - n - - smtpd\n"
                       + (f"  -o smtpd_milters=unix:{milters[name]}\n" if milters[name] else "")
                       for name, port in ports.items())
    (folder / "etc/main.cf").write_text(MAIN.format(folder=folder))
    (folder / "etc/master.cf").write_text(services + MASTER)
    subprocess.run(["postfix", "-c", folder / "etc", "start"], check=True, stderr=subprocess.DEVNULL)
    try:
        for name, port in ports.items():
            wait_for(port, name)
        yield ports
    finally:
        subprocess.run(["postfix", "-c", folder / "etc", "abort"], check=False, stderr=subprocess.DEVNULL)


def drained(folder):
    """Waits until the queue is empty."""
    queues = [folder / "spool" / name for name in ("incoming", "active")]
    while any(files for queue in queues for _, _, files in os.walk(queue)):
        time.sleep(0.05)


def smtp_source(port, message):
    """The seconds of 1,000 copies of a message, a connection each."""
    argv = ["smtp-source", "-m", str(MESSAGES), "-s", str(SESSIONS), "-f", "bob@y.example", "-t", RECIPIENT, "-F", message,
            f"inet:127.0.0.1:{port}"]
    began = time.perf_counter()
    subprocess.run(argv, check=True)
    return time.perf_counter() - began


def send_each(port, messages):
    """The same for messages of which each is another, which smtp-source cannot send. As many processes send, so that no
    lock of Python is between them."""
    began = time.perf_counter()
    children = []
    for first in range(SESSIONS):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for message in messages[first::SESSIONS]:
                    send_one(port, message)
                status = 0
            except OSError as error:
                print(error, file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        sys.exit("a message was not accepted")
    return time.perf_counter() - began


def send_one(port, message):
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answers:
        commands = [b"", b"HELO y.example\r\n", b"MAIL FROM:<bob@y.example>\r\n", f"RCPT TO:<{RECIPIENT}>\r\n".encode(),
                    b"DATA\r\n", message, b"QUIT\r\n"]
        for command in commands:
            connection.sendall(command)
            answer = answers.readline()
            if answer[:1] not in (b"2", b"3"):
                raise OSError(answer)


# ---------------------------------------------------------------------------------------------------- the milter protocol

class Frames:
    """A connection to a milter, as a mail system has it."""

    def __init__(self, at):
        self.socket = connect(at)
        self.reader = self.socket.makefile("rb")
        # Every change, and of the protocol: no answer but to the end of a message.
        self.send(b"O" + struct.pack(">III", 6, 0x1FF, 0x1FFFFF))
        _, _, _, self.agreed = struct.unpack(">cIII", self.receive())

    def send(self, *frames):
        self.socket.sendall(b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))

    def receive(self):
        return self.reader.read(struct.unpack(">I", self.reader.read(4))[0])

    def message(self, message):
        """Shows all of a message but its end."""
        header, body = message.split(b"\n\n", 1)
        fields = re.split(rb"\n(?![ \t])", header)
        named = [field.split(b":", 1) for field in fields]
        if not self.agreed & 0x100000:
            named = [(name, value.removeprefix(b" ")) for name, value in named]
        stages = [(0x1, 0x1000, b"Cy.example\x004\x00\x19192.0.2.9\0"), (0x2, 0x2000, b"Hy.example\0"),
                  (0x4, 0x4000, b"M<bob@y.example>\0"), (0x8, 0x8000, f"R<{RECIPIENT}>\0".encode()),
                  (0x200, 0x10000, b"T"), *((0x20, 0x80, b"L" + b"\0".join(field) + b"\0") for field in named),
                  (0x40, 0x40000, b"N")]
        body = body.replace(b"\n", b"\r\n")
        stages += [(0x10, 0x80000, b"B" + body[at:at + 65_535]) for at in range(0, len(body), 65_535)]
        for leave_out, no_answer, frame in stages:
            if not self.agreed & leave_out:
                self.send(frame)
                if not self.agreed & no_answer and self.receive() not in (b"c", b"s"):
                    sys.exit("a milter refuses a message")

    def answers(self):
        """The answers to the end of the message."""
        self.send(b"E")
        frames = [self.receive()]
        while frames[-1][:1] not in (b"a", b"c", b"r", b"t", b"y"):
            frames.append(self.receive())
        return frames


def show_to(at, message):
    """What a milter answers to a message."""
    frames = Frames(at)
    frames.message(message)
    return b"\n".join(frames.answers()).replace(b"\0", b": ").replace(b"\n\t", b" ")


# ---------------------------------------------------------------------------------------------------- the part

def measure(home, tell, ratio, rounds):
    folder = home.folder / "milter"
    folder.mkdir()
    (folder / "sockets").mkdir()
    # Our socket has the group of its folder.
    shutil.chown(folder / "sockets", group="postfix")
    for place, mode in ((home.folder, 0o755), (folder, 0o755), (folder / "sockets", 0o2777)):
        os.chmod(place, mode)
    signed = Signed(home, folder)
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        milters = {
            "without a milter": None,
            "accept-all": enter(accept_all(folder)),
            "mailstamp": enter(mailstamp(home, folder, "milter-state"))[0],
            "opendkim": enter(opendkim(folder, signed)),
            "rspamd": enter(rspamd(folder)),
        }
        # Each does what it is measured for.
        expected = {"mailstamp": b"unstamped; reason=no-stamp", "opendkim": b"dkim=pass", "rspamd": b""}
        for name, text in expected.items():
            if text not in (answer := show_to(milters[name], signed.file.read_bytes())):
                sys.exit(f"{name}: {answer.decode(errors='replace')}")
        ports = enter(postfix(folder, milters))
        times = run(folder, ports, rounds, lambda port, _: smtp_source(port, signed.file), lambda: None)
        compare(times, "unstamped", 1.25, ratio)
        names = ("accept-all", "mailstamp", "opendkim", "rspamd")
        stamped = {name: ports[name] for name in names}
        fresh = lambda: [signed.with_stamp(home.stamp()) for _ in range(MESSAGES)]
        times = run(folder, stamped, rounds, send_each, fresh)
        compare(times, "stamped", 2, ratio)
        log = home.folder / "milter-state/verdicts.jsonl"
        if (paid := log.read_text().count('"reason":"paid"')) < rounds * MESSAGES:
            sys.exit(f"mailstamp: {paid} messages were paid")
    memory(home, folder, tell)


def run(folder, ports, rounds, send, messages):
    """The seconds of each round, by milter. The first round only warms up."""
    times = {name: [] for name in ports}
    for number in range(rounds + 1):
        batch = messages()
        for name in random.sample(list(ports), len(ports)):
            took = send(ports[name], batch)
            drained(folder)
            if number:
                times[name].append(took)
    for name, seconds in times.items():
        print(f"    {name:<28} median {statistics.median(seconds):6.2f} s, longest {max(seconds):6.2f} s",
              file=sys.stderr, flush=True)
    return times


def compare(times, what, bound, ratio):
    def against(other):
        return statistics.median(a / b for a, b in zip(times["mailstamp"], times[other]))
    ratio(f"milter, 1,000 messages through Postfix, {what}, against an accept-all milter", against("accept-all"), bound)
    if "without a milter" in times:
        ratio(f"milter, the same, against Postfix without a milter", against("without a milter"), None)
    ratio(f"milter, the same, against opendkim that verifies", against("opendkim"), 1)
    ratio(f"milter, the same, against rspamd with its rules", against("rspamd"), 1)


def memory(home, folder, tell):
    """64 connections that show a message of 1 MB each, all at once."""
    count, size = 64, 1 << 20
    message = home.mail(home.stamp(), size).read_bytes()
    with mailstamp(home, folder, "milter-memory") as (at, process):
        show_to(at, home.mail().read_bytes())
        status = pathlib.Path(f"/proc/{process.pid}/status")

        def kib(name):
            return int(re.search(rf"{name}:\s+(\d+)", status.read_text())[1])

        idle = kib("VmRSS")
        connections = [Frames(at) for _ in range(count)]
        for connection in connections:
            connection.message(message)
        ends = [threading.Thread(target=connection.answers) for connection in connections]
        for end in ends:
            end.start()
        for end in ends:
            end.join()
        peak = kib("VmHWM")
    share = (peak - idle) * 1024 / (count * size)
    tell(f"milter, memory for {count} messages of 1 MB at once, over that when idle, against the messages", f"{share:.2f}",
         "≤ 1.5", share <= 1.5)
