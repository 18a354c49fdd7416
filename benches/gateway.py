"""Part `gateway` of benches/compare: mail to mailboxes without a price through the gateway to a real Postfix, and to the
same Postfix straight. It needs root and the Debian package postfix.
"""

import pathlib
import random
import statistics
import subprocess
import time

from milter import MESSAGES, RECIPIENT, drained, free_port, postfix, running

SESSIONS = 20
RECIPIENTS = 1_000
XCLIENT = "smtpd_authorized_xclient_hosts = 127.0.0.0/8\nsmtpd_recipient_limit = 2000\ndefault_process_limit = 200\n"


def source(port, message, *more):
    """The seconds of smtp-source."""
    argv = ["smtp-source", "-f", "bob@y.example", "-t", RECIPIENT, "-F", message, *more, f"inet:127.0.0.1:{port}"]
    began = time.perf_counter()
    subprocess.run(argv, check=True)
    return time.perf_counter() - began


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
