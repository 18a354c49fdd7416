# Drives Chromium on the pages of a vendor for one recipient: the work for a stamp, with JavaScript and without it. What it
# saw goes to standard output as JSON; the test judges it.
import asyncio
import urllib.parse

from browser import look, main


async def run(browser):
    seen = {"pages": {}}
    await browser.show(browser.session)
    await browser.goto("/")
    await look(browser, "inbox", seen)
    await browser.fill("#sender", "joe@z.example")
    await browser.enter()
    await look(browser, "ways", seen)
    await browser.press("form[action='/work'] button.primary")
    # The page that works sends its form by itself, once.
    for _ in range(6000):
        if await browser.value("document.querySelector('#stamp') !== null"):
            break
        await asyncio.sleep(0.05)
    else:
        raise RuntimeError(await browser.value("document.body.innerText"))
    await look(browser, "given", seen)
    seen["stamp"] = await browser.value("document.querySelector('#stamp').value")
    seen["copies"] = await browser.value("document.querySelectorAll('[data-copy] + button').length")
    seen["mailto"] = await browser.value("document.querySelector('#mailto').href")
    seen["body"] = urllib.parse.unquote(seen["mailto"].split("body=")[1])

    await browser.call("Emulation.setScriptExecutionDisabled", value=True)
    await browser.goto("/")
    await browser.press("form.card button.primary")
    await browser.press("form[action='/work'] button.primary")
    await look(browser, "working", seen)
    seen["plain"] = seen["pages"]["working"]["text"]
    await browser.back()
    await browser.fill("#mail", "joe@z.example")
    await browser.enter()
    await look(browser, "mailed", seen)
    seen["asked"] = sorted({"/".join(url.split("/")[:3]) for url in browser.urls if not url.startswith("data:")})
    seen["complaints"] = browser.complaints
    return seen


asyncio.run(main(run))
