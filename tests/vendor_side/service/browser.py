# Drives Chromium over its DevTools protocol: buys stamps as a person would, by keyboard, without JavaScript and with it,
# looks at the account, and takes pictures. What it saw goes to standard output as JSON; the test judges it.
import asyncio
import base64
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import websockets

SHOP, VOUCHER, KEY, PICTURES = sys.argv[1:5]
PICTURES = pathlib.Path(PICTURES)
# The test writes the code of the mail here.
MAILED = PICTURES / "mailed"


class Browser:
    def __init__(self, socket):
        self.socket, self.count, self.waiting, self.session = socket, 0, {}, None
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
        for _ in range(6000):
            if any(event["method"] == "Page.loadEventFired" for event in self.events):
                return
            await asyncio.sleep(0.05)
        raise RuntimeError("a page did not load")

    async def goto(self, path):
        self.events.clear()
        await self.call("Page.navigate", url=SHOP + path)
        await self.loaded()

    async def value(self, expression):
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
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

    async def back(self):
        """The page before, as the back button shows it: as it was left, or loaded again."""
        history = await self.call("Page.getNavigationHistory")
        before = history["entries"][history["currentIndex"] - 1]["id"]
        self.events.clear()
        await self.call("Page.navigateToHistoryEntry", entryId=before)
        for _ in range(6000):
            kinds = [event["params"]["type"] for event in self.events if event["method"] == "Page.frameNavigated"]
            if "BackForwardCacheRestore" in kinds:
                break
            if kinds and any(event["method"] == "Page.loadEventFired" for event in self.events):
                break
            await asyncio.sleep(0.05)
        else:
            raise RuntimeError("the back button did nothing")
        # A page that was kept is not attended to at once.
        for _ in range(6000):
            try:
                if await self.value("document.readyState") == "complete":
                    return
            except RuntimeError:
                pass
            await asyncio.sleep(0.05)

    async def tab(self):
        """Opens another tab and shows it; the id of the tab that was shown before."""
        before, self.session = self.session, None
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        await self.show((await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"])
        return before

    async def show(self, session):
        self.session = session
        for domain in ("Page", "DOM", "Runtime", "Log", "Audits", "Network"):
            await self.call(f"{domain}.enable")
        await self.call("Page.bringToFront")

    async def pictures(self, name):
        wide = {}
        for scheme in ("light", "dark"):
            await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            for width in (390, 900):
                await self.call(
                    "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500
                )
                # Nothing may stand out to the right of a phone.
                wide[width] = await self.value("document.documentElement.scrollWidth")
                picture = await self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
                (PICTURES / f"{name}-{width}-{scheme}.png").write_bytes(base64.b64decode(picture["data"]))
        return wide

    async def audit(self):
        """What a person with a screen reader or a keyboard would miss."""
        return await self.value(
            """(() => {
              const wrong = [];
              for (const field of document.querySelectorAll('input:not([type=hidden]):not([hidden]), textarea'))
                if (!field.labels || !field.labels.length) wrong.push('no label: ' + field.outerHTML);
              for (const name of ['header', 'nav', 'main', 'footer', 'h1'])
                if (document.querySelectorAll(name).length !== 1) wrong.push(name);
              if (!document.documentElement.lang) wrong.push('no language');
              const ids = [...document.querySelectorAll('[id]')].map(it => it.id);
              if (new Set(ids).size !== ids.length) wrong.push('an id twice');
              for (const it of document.querySelectorAll('[aria-describedby],[aria-labelledby]'))
                for (const id of (it.getAttribute('aria-describedby') || '').split(' ').concat(
                    (it.getAttribute('aria-labelledby') || '').split(' ')))
                  if (id && !document.getElementById(id)) wrong.push('nothing is called ' + id);
              if (document.querySelector('[style], style, script:not([src])')) wrong.push('something inline');
              const light = colour => {
                const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(
                  c => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const ground = it => {
                for (; it; it = it.parentElement) {
                  const colour = getComputedStyle(it).backgroundColor;
                  if (!/, 0\\)$/.test(colour)) return colour;
                }
                return 'rgb(255,255,255)';
              };
              for (const it of document.querySelectorAll('main *, header *, footer *')) {
                if (![...it.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue;
                const [a, b] = [light(getComputedStyle(it).color), light(ground(it))];
                const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                if (contrast < 4.5) wrong.push('contrast ' + contrast.toFixed(1) + ': ' + it.outerHTML.slice(0, 80));
              }
              return wrong;
            })()"""
        )


async def look(browser, name, seen):
    wide = await browser.pictures(name)
    wrong = []
    for scheme in ("light", "dark"):
        await browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        wrong += [f"{scheme}: {what}" for what in await browser.audit()]
    seen["pages"][name] = {"wide": wide, "wrong": wrong, "text": await browser.value("document.body.innerText")}


async def purchase(browser, recipient, pictures, seen):
    """From the form to the stamp, by keyboard."""
    await browser.goto("/")
    if pictures:
        await look(browser, "form", seen)
    await browser.fill("#recipient", recipient)
    await browser.enter()
    if pictures:
        await look(browser, "pay", seen)
    await browser.fill("#voucher", "AAAA-" * 7 + "AAAA")
    await browser.enter()
    if pictures:
        await look(browser, "wrong-voucher", seen)
    typed = await browser.value("document.querySelector('#voucher').value")
    await browser.fill("#voucher", VOUCHER)
    await browser.enter()
    if pictures:
        await look(browser, "bought", seen)
    return {
        "typed": typed,
        "code": await browser.value("document.querySelector('#code').value"),
        "stamp": await browser.value("document.querySelector('#stamp').value"),
        "field": await browser.value("document.querySelector('#field').value"),
        "mailto": await browser.value("document.querySelector('#mailto').href"),
        "copies": await browser.value("document.querySelectorAll('[data-copy] + button').length"),
    }


async def run(browser):
    seen = {"pages": {}}
    await browser.show(browser.session)
    await browser.call("Emulation.setScriptExecutionDisabled", value=True)
    seen["plain"] = await purchase(browser, "alice@x.example", False, seen)
    # A reload sends the form again, and so does the back button with the same form.
    browser.events.clear()
    await browser.call("Page.reload")
    await browser.loaded()
    seen["reloaded"] = await browser.value("document.querySelector('#stamp').value")
    await browser.call("Emulation.setScriptExecutionDisabled", value=False)
    seen["scripted"] = await purchase(browser, "alice@x.example", True, seen)
    await browser.back()
    await browser.fill("#voucher", VOUCHER)
    await browser.enter()
    seen["back"] = await browser.value("document.querySelector('#stamp').value")

    # The order is changed: what was typed is still there.
    await browser.goto("/?recipient=dora@x.example&value=1")
    await browser.value("document.querySelector('details').open = true")
    await browser.fill("#sender", "me@y.example")
    await browser.enter()
    await browser.fill("#voucher", VOUCHER)
    await browser.press("section form button")
    seen["changed"] = await browser.value("['recipient', 'sender'].map(id => document.getElementById(id).value).join()")
    # While the order waits for payment, the visitor signs in in another tab, and pays in the first one.
    await browser.press("#recipient")
    first = await browser.tab()
    await browser.goto("/signin")
    await browser.fill("#key", KEY)
    await browser.enter()
    second = browser.session
    await browser.show(first)
    await browser.fill("#voucher", VOUCHER)
    await browser.enter()
    seen["tabs"] = await browser.value("document.querySelector('#stamp').value")
    code = await browser.value("document.querySelector('#code').value")
    await browser.show(second)
    await browser.press("nav button")
    # The stamp again, by its order code.
    await browser.press("footer a[href='/stamp']")
    await browser.fill("#code", "AAAA" + code)
    await browser.press("form.card button.primary")
    await look(browser, "no-code", seen)
    seen["kept"] = (await browser.value("document.querySelector('#code').value")) == "AAAA" + code
    await browser.fill("#code", code)
    await browser.press("form.card button.primary")
    seen["again_by_code"] = await browser.value("document.querySelector('#stamp').value")
    await browser.show(first)

    await browser.goto("/")
    await browser.value("document.querySelector('form.card').noValidate = true")
    await browser.fill("#recipient", "nobody")
    await browser.enter()
    await look(browser, "faults", seen)
    await browser.goto("/nothing/here")
    await look(browser, "nothing", seen)
    await browser.goto("/problems")
    await look(browser, "problems", seen)

    await browser.goto("/signin")
    await browser.fill("#key", "msk_wrong")
    await browser.enter()
    await look(browser, "signin", seen)
    await browser.fill("#key", KEY)
    await browser.enter()
    await look(browser, "account", seen)
    # An address is proved by the code that is mailed there.
    await browser.fill("#address", "Joe@z.example")
    await browser.enter()
    await look(browser, "mailed", seen)
    await browser.fill("#proof", "AAAA-AAAA")
    await browser.enter()
    await look(browser, "wrong-code", seen)
    seen["proving"] = await browser.value("document.querySelector('#proved').value")
    while not MAILED.exists() or not MAILED.read_text().endswith("\n"):
        await asyncio.sleep(0.05)
    await browser.fill("#proof", MAILED.read_text().strip())
    await browser.enter()
    seen["owns"] = await browser.value("[...document.querySelectorAll('[aria-labelledby=owns] li')].map(it => it.innerText)")
    await browser.fill("#label", '<b>"laptop"</b>')
    await browser.enter()
    await look(browser, "key", seen)
    seen["key"] = await browser.value("document.querySelector('#newkey').value")
    browser.events.clear()
    await browser.call("Page.reload")
    await browser.loaded()
    seen["again"] = await browser.value("document.querySelector('#newkey') === null")
    await browser.goto("/account")
    await browser.press("a[href*='before=']")
    await look(browser, "earlier", seen)
    await browser.goto("/account")
    await browser.press("tr:nth-child(2) form button")
    await look(browser, "revoke", seen)
    await browser.press("form.line button")
    seen["revoked"] = await browser.value("document.querySelectorAll('tr.off').length")
    await browser.goto("/")
    await browser.fill("#recipient", "carol@x.example")
    await browser.enter()
    await look(browser, "pay-account", seen)
    await browser.press("form.card button.primary")
    seen["account"] = await browser.value("document.querySelector('#stamp').value")
    await browser.press("nav button")
    await browser.goto("/account")
    seen["out"] = await browser.value("location.pathname")
    cookies = (await browser.call("Network.getCookies"))["cookies"]
    seen["cookies"] = [{name: cookie.get(name) for name in ("name", "httpOnly", "sameSite", "session")} for cookie in cookies]
    seen["asked"] = sorted({re.sub(r"^(https?://[^/]+).*", r"\1", url) for url in browser.urls if not url.startswith("data:")})
    seen["complaints"] = browser.complaints
    return seen


async def main(run):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        chromium = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
             f"--user-data-dir={home}/data", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
             "--disable-background-networking", "--ignore-certificate-errors", "--hide-scrollbars", "about:blank"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={"HOME": home, "PATH": "/usr/bin:/bin"},
        )
        try:
            for line in chromium.stderr:
                if "DevTools listening on " in line:
                    address = line.split("DevTools listening on ")[1].strip()
                    break
            async with websockets.connect(address, max_size=None) as socket:
                browser = Browser(socket)
                listening = asyncio.create_task(browser.listen())
                target = (await browser.call("Target.createTarget", url="about:blank"))["targetId"]
                session = (await browser.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
                browser.session = session
                json.dump(await run(browser), sys.stdout)
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
    asyncio.run(main(run))
