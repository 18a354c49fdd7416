# Drives Chromium over its DevTools protocol, as a visitor by keyboard. Does what it is asked on standard input, a JSON
# value a line: a method of Browser and its arguments. Ends when its standard input does.
import asyncio
import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

import websockets

# The rules of accessibility, which tests/run fetches.
AXE = pathlib.Path(os.environ["MAILSTAMP_TEST_AXE"], "axe.min.js").read_text()
# Set to a folder, the pages are painted there for people to look at.
PICTURES = os.environ.get("MAILSTAMP_TEST_PICTURES")

# Counts the rules that had something to look at. What needs a person's judgement counts as wrong, except for the
# colours of a table that is scrolled: where the page is wide, all of it is in sight.
RUN = """axe.run(document, {
  resultTypes: ['violations', 'incomplete'],
  // These are off unless asked for.
  rules: Object.fromEntries(['target-size', 'duplicate-id', 'duplicate-id-active'].map(it => [it, { enabled: true }])),
}).then(({ passes, violations, incomplete }) => {
  const scrolled = ({ target }) => {
    const table = document.querySelector(target[0]).closest('.wide');
    return table && table.scrollWidth > table.clientWidth;
  };
  const unsure = it => ({ ...it, nodes: it.nodes.filter(at => it.id !== 'color-contrast' || !scrolled(at)) });
  const said = it => it.nodes.map(at => `${it.id}: ${at.failureSummary}: ${at.html}`);
  return { ran: passes.length, wrong: [...violations, ...incomplete.map(unsure)].flatMap(said) };
})"""


class Browser:
    def __init__(self, socket):
        self.origin, self.socket, self.count, self.waiting, self.session = "", socket, 0, {}, None
        self.events, self.complaints, self.urls = [], [], []

    async def listen(self):
        async for text in self.socket:
            message = json.loads(text)
            if "id" in message:
                self.waiting.pop(message["id"]).set_result(message)
                continue
            self.events.append(message)
            method, parameters = message["method"], message.get("params", {})
            if method == "Network.requestWillBeSent":
                self.urls.append(parameters["request"]["url"])
            if method == "Audits.issueAdded":
                self.complaints.append(parameters["issue"]["code"])
            if method == "Log.entryAdded" and "Failed to load resource" not in parameters["entry"]["text"]:
                self.complaints.append(parameters["entry"]["text"])
            if method == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters))

    async def call(self, method, **parameters):
        self.count += 1
        future = asyncio.get_running_loop().create_future()
        self.waiting[self.count] = future
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        await self.socket.send(json.dumps(message))
        answer = await asyncio.wait_for(future, 300)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    async def loaded(self):
        for _ in range(30000):
            if any(event["method"] == "Page.loadEventFired" for event in self.events):
                return
            await asyncio.sleep(0.01)
        raise RuntimeError("a page did not load")

    async def visit(self, origin):
        self.origin = origin

    async def goto(self, path):
        self.events.clear()
        await self.call("Page.navigate", url=self.origin + path)
        await self.loaded()

    async def value(self, expression, world=None):
        """The value of an expression, in the world of the page if no other is named."""
        where = {"contextId": world} if world else {}
        result = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=bool(world), **where
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression[:200]}: {result['exceptionDetails']}")
        return result["result"].get("value")

    async def focus(self, selector):
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = (await self.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
        assert node, f"{selector} is not on {await self.value('document.title')}"
        await self.call("DOM.focus", nodeId=node)

    async def fill(self, selector, text):
        await self.focus(selector)
        await self.value("document.activeElement.select && document.activeElement.select()")
        await self.call("Input.insertText", text=text)

    async def enter(self):
        self.events.clear()
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **key)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **key)
        await self.loaded()

    async def press(self, selector):
        await self.focus(selector)
        await self.enter()

    async def reload(self):
        self.events.clear()
        await self.call("Page.reload")
        await self.loaded()

    async def back(self):
        """The page before, as the back button shows it: as it was left, or loaded again."""
        history = await self.call("Page.getNavigationHistory")
        before = history["entries"][history["currentIndex"] - 1]["id"]
        self.events.clear()
        await self.call("Page.navigateToHistoryEntry", entryId=before)
        for _ in range(30000):
            kinds = [event["params"]["type"] for event in self.events if event["method"] == "Page.frameNavigated"]
            if "BackForwardCacheRestore" in kinds:
                break
            if kinds and any(event["method"] == "Page.loadEventFired" for event in self.events):
                break
            await asyncio.sleep(0.01)
        else:
            raise RuntimeError("the back button did nothing")
        # A page that was kept is not attended to at once.
        for _ in range(30000):
            try:
                if await self.value("document.readyState") == "complete":
                    return
            except RuntimeError:
                pass
            await asyncio.sleep(0.01)

    async def tab(self):
        """Opens another tab and shows it; the id of the tab that was shown before."""
        before, self.session = self.session, None
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        await self.show((await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"])
        return before

    async def show(self, session):
        """Shows a tab; the id of the tab that was shown before."""
        before, self.session = self.session, session
        for domain in ("Page", "DOM", "Runtime", "Log", "Audits", "Network"):
            await self.call(f"{domain}.enable")
        await self.call("Page.bringToFront")
        return before

    async def scripts(self, allowed):
        await self.call("Emulation.setScriptExecutionDisabled", value=not allowed)

    async def look(self, name, all_variants):
        """What axe-core finds on the page, and how wide it is: in light and dark, on a telephone and on a desk."""
        variants = [("light", 390), ("dark", 900), ("dark", 390), ("light", 900)]
        frame = (await self.call("Page.getFrameTree"))["frameTree"]["frame"]["id"]
        # In a world of its own axe-core changes nothing of the page, and runs where the page runs no scripts. Timers do
        # not run there: what they would do is done at once, except for timeouts, which are the long ones.
        world = (await self.call("Page.createIsolatedWorld", frameId=frame))["executionContextId"]
        timers = "globalThis.setTimeout = (act, ms) => { ms > 1000 || Promise.resolve().then(act); };"
        await self.value(timers + AXE, world)
        seen = {"title": await self.value("document.title"), "text": await self.value("document.body.innerText")}
        seen |= {"wide": {}, "wrong": [], "ran": []}
        for scheme, width in variants if all_variants else variants[:2]:
            await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            await self.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500
            )
            # Nothing may stand out to the right of a phone.
            seen["wide"][width] = await self.value("document.documentElement.scrollWidth")
            found = await self.value(RUN, world)
            seen["ran"].append(found["ran"])
            seen["wrong"] += [f"{scheme} {width}: {what}" for what in found["wrong"]]
            if PICTURES:
                picture = await self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
                path = pathlib.Path(PICTURES, f"{name}-{width}-{scheme}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(base64.b64decode(picture["data"]))
        return seen

    async def report(self):
        """What the browser complained of, whom it asked, and the cookies that it has."""
        cookies = (await self.call("Network.getCookies"))["cookies"]
        names = ("name", "httpOnly", "sameSite", "session")
        return {
            "complaints": self.complaints,
            "asked": sorted({"/".join(url.split("/")[:3]) for url in self.urls if not url.startswith("data:")}),
            "cookies": [{name: cookie.get(name) for name in names} for cookie in cookies],
        }


async def steps(browser):
    await browser.show(browser.session)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        method, *arguments = json.loads(line)
        print(json.dumps(await getattr(browser, method)(*arguments)), flush=True)


async def main():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        chromium = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
             f"--user-data-dir={home}/data", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
             "--disable-background-networking", "--ignore-certificate-errors", "--hide-scrollbars", "about:blank"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            env={"HOME": home, "TMPDIR": home, "PATH": "/usr/bin:/bin"},
        )
        try:
            for line in chromium.stderr:
                if "DevTools listening on " in line:
                    address = line.split("DevTools listening on ")[1].strip()
                    break
            # A pipe that is full would stop it.
            threading.Thread(target=chromium.stderr.read, daemon=True).start()
            async with websockets.connect(address, max_size=None) as socket:
                browser = Browser(socket)
                listening = asyncio.create_task(browser.listen())
                target = (await browser.call("Target.createTarget", url="about:blank"))["targetId"]
                session = (await browser.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
                browser.session = session
                await steps(browser)
                listening.cancel()
        finally:
            # Told to end, it ends its children too; they would go on writing otherwise.
            chromium.terminate()
            try:
                chromium.wait(60)
            except subprocess.TimeoutExpired:
                chromium.kill()
                chromium.wait()


if __name__ == "__main__":
    asyncio.run(main())
