"""Thunderbird without a screen, driven by Marionette, the protocol of Mozilla's own tests: a fresh profile in a folder."""

import json
import pathlib
import socket
import subprocess
import sys
import time

# Longer than any machine takes, in seconds.
PATIENCE = 300

SETTINGS = {
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
    "mail.account.account1.server": "server1",
    "mail.server.server1.type": "none",
    "mail.server.server1.hostname": "Local Folders",
    "mail.server.server1.userName": "joe",
}


class Thunderbird:
    """A running Thunderbird, with these settings beside SETTINGS. Messages are JSON, with their length and a colon in
    front."""

    def __init__(self, program, folder, settings):
        folder = pathlib.Path(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        profile = folder / "profile"
        profile.mkdir(parents=True)
        settings = SETTINGS | {"marionette.port": port} | settings
        lines = [f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in settings.items()]
        (profile / "user.js").write_text("".join(lines))
        environment = {
            "HOME": str(folder), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MOZ_CRASHREPORTER_DISABLE": "1",
        }
        words = [program, "--headless", "--no-remote", "--profile", profile, "--marionette", "--remote-allow-system-access"]
        with (folder / "stderr").open("w") as log:
            self.process = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.port = port

    def __enter__(self):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.stream = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    self.process.kill()
                    raise
                time.sleep(0.05)
        self.bytes = self.stream.makefile("rb")
        self.count = 0
        self.read()
        self.call("WebDriver:NewSession", {"capabilities": {}})
        self.call("Marionette:SetContext", {"value": "chrome"})
        self.call("WebDriver:SetTimeouts", {"script": PATIENCE * 1000})
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.call("Marionette:Quit", {"flags": ["eForceQuit"]})
            self.process.wait(PATIENCE)
        self.process.kill()
        self.process.wait()

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

    def run(self, script, *arguments):
        """Runs a script in Thunderbird itself. Its last argument is the function that takes the result."""
        script = {"script": script, "args": list(arguments), "newSandbox": True, "sandbox": "system"}
        return self.call("WebDriver:ExecuteAsyncScript", script)["value"]
