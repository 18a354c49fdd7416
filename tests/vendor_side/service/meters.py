# A gateway of an agency, written from mailstamp-vendor(8) alone: licenses two meters, pays, clears, and checks every
# receipt. Arguments: URL of the agency, its name, its public key, the API keys of payer and payee. Ed25519 comes from the
# library cryptography; all else is Python's own.
import base64
import hashlib
import json
import os
import struct
import sys
import time
import urllib.error
import urllib.request

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

URL, AGENCY, AGENCY_KEY, PAYER_API, PAYEE_API = sys.argv[1:]


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pae(*pieces):
    return struct.pack("<Q", len(pieces)) + b"".join(struct.pack("<Q", len(piece)) + piece for piece in pieces)


def utc(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Meter:
    def __init__(self, api):
        self.api, self.key, self.events = api, Ed25519PrivateKey.generate(), 0
        self.public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.name = "m" + hashlib.sha256(self.public).hexdigest()[:16]
        self.footer = json.dumps({"iss": AGENCY, "kid": self.name}).encode()

    def sign(self, claims, purpose):
        payload = json.dumps(claims).encode()
        signature = self.key.sign(pae(b"v4.public.", payload, self.footer, purpose))
        return "v4.public." + encode(payload + signature) + "." + encode(self.footer)

    def head(self):
        return f"{self.events}:{hashlib.sha256(b'%d' % self.events).hexdigest() if self.events else '0' * 64}"

    def request(self, path, body, changed=None):
        self.events += 1
        body = json.dumps(body).encode()
        key = encode(os.urandom(12))
        claims = {"bank": self.head(), "body": hashlib.sha256(body).hexdigest(), "iat": utc(time.time()), "key": key,
                  "path": "POST " + path}
        fields = {"Content-Type": "application/json", "Idempotency-Key": key,
                  "Meter-Request": self.sign(claims | (changed or {}), b"digital-stamp-meter-request")}
        return fields, body

    def post(self, path, body, changed=None):
        return self.send(path, *self.request(path, body, changed))

    def send(self, path, fields, body):
        status, text = ask("POST", path, fields | {"Authorization": "Bearer " + self.api}, body)
        answer = json.loads(text)
        if status != 200:
            return status, answer
        receipt = opened(answer["receipt"])
        assert receipt["key"] == fields["Idempotency-Key"], receipt
        assert receipt["request"] == hashlib.sha256(body).hexdigest(), receipt
        return status, receipt

    def pay(self, payee, mailbox, message, credits):
        return self.sign({"jti": encode(os.urandom(28)), "aud": mailbox, "val": credits,
                          "msg": encode(hashlib.sha256(message).digest()), "exp": utc(time.time() + 3600),
                          "payee": payee}, b"digital-stamp-meter")


def ask(method, path, fields, body=None):
    request = urllib.request.Request(URL + path, body, fields, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def opened(token):
    version, purpose, body, footer = token.split(".")
    assert (version, purpose) == ("v4", "public"), token
    body, footer = decode(body), decode(footer)
    signed = pae(b"v4.public.", body[:-64], footer, b"digital-stamp-receipt")
    Ed25519PublicKey.from_public_bytes(decode(AGENCY_KEY.removeprefix("k4.public."))).verify(body[-64:], signed)
    return json.loads(body[:-64])


def license(meter, limit):
    status, receipt = meter.post("/v1/licenses", {"key": "k4.public." + encode(meter.public), "limit": limit, "days": 7})
    assert status == 200 and receipt["license"] == meter.name, receipt
    return receipt


def listed():
    document = json.loads(ask("GET", "/.well-known/digital-stamp", {})[1])
    payload = json.loads(decode(document["directory"].split(".")[2])[:-64])
    vendor, = [it for it in payload["vendors"] if it["vendor"] == AGENCY]
    return {it["kid"]: (it["key"], it["limit"]) for it in vendor.get("meters", [])}


payer, payee = Meter(PAYER_API), Meter(PAYEE_API)
first = license(payer, 1000)
assert first["licenses"][0]["rest"] == 1000, first
to = license(payee, 0)["name"] + "@" + AGENCY
listing = listed()
assert listing == {meter.name: ("k4.public." + encode(meter.public), limit) for meter, limit in [(payer, 1000), (payee, 0)]}, listing

tokens = [payer.pay(to, "joe@far.example", b"message %d" % number, 3) for number in range(5)]
bad = tokens[0][:-40]
status, receipt = payee.post("/v1/clearings", {"tokens": tokens + [bad]})
assert receipt["each"] == [{"credits": 3}] * 5 + [{"problem": "bad-token"}], receipt
assert receipt["balance"] == 15, receipt

# The same request once more, byte for byte; the payment once more, with another ID; with another message it is another.
fields, body = payee.request("/v1/clearings", {"tokens": [payer.pay(to, "joe@far.example", b"message 5", 3)]})
assert payee.send("/v1/clearings", fields, body) == payee.send("/v1/clearings", fields, body)
status, receipt = payee.post("/v1/clearings", {"tokens": [payer.pay(to, "joe@far.example", b"message 5", 3)]})
assert receipt["each"][0]["problem"] == "cleared-before" and receipt["balance"] == 18, receipt

# What is not signed so is refused.
for changed, reason in [
    ({"path": "POST /v1/checkpoints"}, "path"),
    ({"body": "0" * 64}, "body"),
    ({"key": "other"}, "idempotency-key"),
    ({"iat": utc(time.time() - 400)}, "time"),
    ({"more": 1}, "malformed"),
]:
    status, problem = payee.post("/v1/clearings", {"tokens": tokens}, changed)
    assert (status, problem["problem"], problem["reason"]) == (403, "meter-request", reason), problem
    assert abs(problem["now"] - time.time()) < 300, problem
fields, body = payee.request("/v1/clearings", {"tokens": tokens})
status, problem = payer.send("/v1/clearings", fields, body)
assert (status, problem["reason"]) == (403, "key"), problem
del fields["Meter-Request"]
status, problem = payee.send("/v1/clearings", fields, body)
assert (status, problem["reason"]) == (403, "missing"), problem

# The payer's bank compares: what was paid, and one payment of which it does not know.
name = b"joe@far.example"
number = first["account"]


def payment(message):
    hashed = b"emstamp-payment\0" + struct.pack(">Q", number) + name + b"\0" + hashlib.sha256(message).digest()
    return {"payment": hashlib.sha256(hashed).hexdigest(), "until": utc(time.time() + 3600)}


old = payment(b"never sent") | {"until": utc(time.time() - 8 * 86400)}
before = payer.head()
status, receipt = payer.post("/v1/checkpoints", {"open": [payment(b"message 1"), payment(b"other"), old]})
assert receipt["open"] == ["cleared", "open", "void"], receipt
assert receipt["licenses"][0]["rest"] == 1000 - 18, receipt
assert receipt["bank"]["now"] == payer.head() != before, receipt

# Its file is put back: it is told.
payer.events -= 2
status, problem = payer.post("/v1/checkpoints", {})
assert (status, problem["problem"], problem["sent"]) == (409, "bank-behind", payer.head()), problem
status, receipt = payer.post("/v1/checkpoints", {"accept_restored": True}, {"bank": payer.head()})
assert status == 200, receipt

fields = {"Authorization": "Bearer " + PAYER_API}
assert ask("DELETE", "/v1/licenses/" + payee.name, fields)[0] == 404
assert ask("DELETE", "/v1/licenses/" + payer.name, fields)[0] == 204
licenses = json.loads(ask("GET", "/v1/licenses", fields)[1])["licenses"]
assert licenses[0]["kid"] == payer.name and "revoked" in licenses[0], licenses
assert list(listed()) == [payee.name], listed()
print("whole")
