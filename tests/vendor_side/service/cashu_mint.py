# A mint of Cashu and a wallet, both of PyPI's cashu, and a proxy before the mint that can be made slow, deaf or dishonest.
# Answers requests: a JSON value a line. Ends when its standard input does.
import asyncio
import http.client
import json
import os
import socket
import sys
import tempfile
import threading
import time
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)
os.environ.update(
    CASHU_DIR=folder.name,
    MINT_DATABASE=folder.name + "/mint",
    MINT_BACKEND_BOLT11_SAT="FakeWallet",
    MINT_PRIVATE_KEY="a key of the tests",
    MINT_INPUT_FEE_PPK="100",
    FAKEWALLET_BRR="TRUE",
    FAKEWALLET_DELAY_OUTGOING_PAYMENT="0",
    FAKEWALLET_DELAY_INCOMING_PAYMENT="0",
    MINT_RATE_LIMIT="FALSE",
    TOR="FALSE",
    LOG_LEVEL="CRITICAL",
)


class Anything(types.ModuleType):
    """A backend for Lightning that is not used here. The releases that cashu 0.21.0 asks for are gone from PyPI."""

    def __getattr__(self, name):
        return type(name, (), {})


sys.modules["breez_sdk_spark"] = Anything("breez_sdk_spark")
# Standard output is for answers.
answers, sys.stdout = sys.stdout, sys.stderr

import uvicorn
from cashu.core.base import Unit
from cashu.mint.app import app
from cashu.mint.startup import ledger
from cashu.wallet.helpers import deserialize_token_from_string, receive
from cashu.wallet.wallet import Wallet


def listening():
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    found.listen(128)
    return found


behind = listening()
server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
threading.Thread(target=server.run, kwargs={"sockets": [behind]}, daemon=True).start()


# What is done with requests whose path contains this, those that are held now, and the paths that were asked for.
modes, held, asked, changed = {}, [], [], threading.Condition()


OTHER = "02a9acc1e48c25eeeb9289b5031cc57da9fe72f3fe2861d264bdc074209b107ba2"


class Proxy(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def hold(self):
        """Waits until the test lets go; returns whether to go on."""
        mine = {"go": None}
        with changed:
            held.append(mine)
            changed.notify_all()
            changed.wait_for(lambda: mine["go"] is not None)
            held.remove(mine)
        return mine["go"]

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked.append(self.path.removeprefix("/v1"))
        mode = next((mode for path, mode in modes.items() if path in self.path), "pass")
        if mode.startswith("refuse"):
            return self.answer(400, json.dumps({"detail": "no", "code": int(mode.split()[1])}).encode())
        if mode == "away" or (mode == "before" and not self.hold()):
            return self.close()
        if mode == "broken":
            return self.answer(500, b"{}")
        mint = http.client.HTTPConnection(*behind.getsockname())
        mint.request(self.command, self.path, body, {"Content-Type": "application/json"})
        answer = mint.getresponse()
        status, body = answer.status, answer.read()
        if mode == "lost" or (mode == "after" and not self.hold()):
            return self.close()
        found = json.loads(body)
        for signature in found.get("signatures", []):
            if mode == "lying":
                signature["C_"] = OTHER
            if mode == "less":
                signature["amount"] = 1
        if mode == "short":
            found["signatures"] = found["signatures"][:-1]
        if mode == "keys":
            found["keysets"][0]["keys"]["4"] = OTHER
        self.answer(status, json.dumps(found).encode())

    def close(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, status, body):
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            # The shop was killed.
            self.close_connection = True

    do_GET = do_POST = forward


proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
proxy.daemon_threads = True
threading.Thread(target=proxy.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{proxy.server_address[1]}"


async def fresh_wallet():
    wallet = await Wallet.with_db(URL, folder.name + "/wallet", "wallet")
    await wallet.load_mint()
    quote = await wallet.request_mint(4096)
    for _ in range(600):
        try:
            await wallet.mint(4096, quote_id=quote.quote)
            break
        except Exception:
            await asyncio.sleep(0.05)
    return wallet


async def obey(wallet, request):
    match request["do"]:
        case "url":
            return URL
        case "send":
            await wallet.load_proofs(reload=True)
            _, proofs = await wallet.swap_to_send(wallet.proofs, request["amount"], set_reserved=True)
            return await wallet.serialize_proofs(proofs, legacy=request.get("legacy", False))
        case "receive":
            try:
                token = deserialize_token_from_string(request["token"])
                await wallet.load_proofs(reload=True)
                before = wallet.available_balance.amount
                await receive(wallet, token)
                await wallet.load_proofs(reload=True)
                return wallet.available_balance.amount - before
            except Exception as error:
                return str(error)
        case "spent":
            token = deserialize_token_from_string(request["token"])
            await wallet._expand_short_keyset_ids(token.proofs)
            states = await wallet.check_proof_state(token.proofs)
            return [state.state.name.upper() for state in states.states]
        case "mode":
            modes.clear()
            modes.update(request["modes"])
        case "held":
            with changed:
                return changed.wait_for(lambda: len(held) >= request["count"], timeout=30)
        case "asked":
            found = asked[:]
            asked.clear()
            return found
        case "sums":
            await wallet.load_proofs(reload=True)
            signed, fees = await ledger.get_unit_balance_and_fees(Unit.sat, db=ledger.db)
            return [wallet.available_balance.amount, signed.amount, fees.amount]
        case "rotate":
            await ledger.rotate_next_keyset(Unit.sat, input_fee_ppk=request["fee"])
            await wallet.load_mint(force_old_keysets=False)
        case "forge":
            # As it was, but for its secrets.
            token = deserialize_token_from_string(request["token"])
            for group in token.t:
                group.i = bytes.fromhex(request.get("keyset", group.i.hex()))
                for proof in group.p:
                    proof.s = os.urandom(32).hex()
            return token.serialize()
        case "release":
            with changed:
                for one in held:
                    one["go"] = request["go"]
                changed.notify_all()


async def main():
    for _ in range(1200):
        if server.started:
            break
        await asyncio.sleep(0.025)
    wallet = await fresh_wallet()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await obey(wallet, json.loads(line))), file=answers, flush=True)


asyncio.run(main())
os._exit(0)
