#!/usr/bin/python3
"""eMstamp for both sides, written from mailstamp-emstamp(5) and mailstamp-stamp(5) alone: IDs, offers, lines EMST, tokens.

Reads one JSON object with a member `do` from each line of standard input, and writes the answer as one line. Uses nothing but
Python's own library. Addresses beyond ASCII are left out, and so is deep nesting of JSON. tests/vendor_side/gateway_both/peer.py
is a whole client and a whole server over it.
"""

import base64
import hashlib
import hmac
import json
import re
import sys
from datetime import datetime, timezone

# Ed25519 (RFC 8032 section 5.1), in extended coordinates.
P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    w, x, y, z = f - e, d - c, d + c, f + e
    return (w * x % P, y * z % P, x * y % P, w * z % P)


def times(number, point):
    result = (0, 1, 1, 0)
    while number:
        if number & 1:
            result = add(result, point)
        point, number = add(point, point), number >> 1
    return result


def same(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def root(y, sign):
    """The x of a point, or None."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def packed(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def unpacked(data):
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    x = root(y, sign) if y < P else None
    return None if x is None else (x, y, 1, x * y % P)


Y = 4 * pow(5, P - 2, P) % P
X = root(Y, 0)
BASE = (X, Y, 1, X * Y % P)


def number_of(*pieces):
    return int.from_bytes(hashlib.sha512(b"".join(pieces)).digest(), "little")


def expanded(seed):
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
    return scalar, digest[32:]


def public_key(seed):
    return packed(times(expanded(seed)[0], BASE))


def signature_of(seed, message):
    scalar, prefix = expanded(seed)
    key = packed(times(scalar, BASE))
    nonce = number_of(prefix, message) % Q
    commitment = packed(times(nonce, BASE))
    return commitment + ((nonce + number_of(commitment, key, message) * scalar) % Q).to_bytes(32, "little")


def is_signed(key, message, signature):
    """Strict: S below the order, neither key nor R of small order, no cofactor."""
    a, r, s = unpacked(key), unpacked(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= Q or any(same(times(8, point), (0, 1, 1, 0)) for point in (a, r)):
        return False
    return same(times(s, BASE), add(r, times(number_of(signature[:32], key, message) % Q, a)))


# mailstamp-stamp(5): base64url, PASETO, JSON, times, addresses, fingerprints.
class Refused(Exception):
    """A reply to EMST other than 250: code, enhanced status."""


BAD = Refused("550 5.7.1")
RENEW = Refused("550 5.7.15")
LATER = Refused("451 4.7.1")


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    """Strict: one spelling only."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text, re.A):
        raise BAD
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if len(text) % 4 != 1 else None
    if data is None or encode(data) != text:
        raise BAD
    return data


def pae(*pieces):
    number = lambda n: n.to_bytes(8, "little")
    return number(len(pieces)) + b"".join(number(len(piece)) + piece for piece in pieces)


def signed_bytes(payload, footer):
    return pae(b"v4.public.", payload, footer, b"digital-stamp-meter")


def make_token(seed, payload, footer):
    signature = signature_of(seed, signed_bytes(payload, footer))
    return f"v4.public.{encode(payload + signature)}.{encode(footer)}"


def parts(token):
    """Payload, signature and footer of a token."""
    words = token.split(".")
    if len(token) > 8192 or words[:2] != ["v4", "public"] or len(words) not in (3, 4) or words[-1] == "":
        raise BAD
    body, footer = decode(words[2]), decode(words[3]) if len(words) == 4 else b""
    if len(body) < 64 or len(body) > 2048 + 64 or len(footer) > 1024:
        raise BAD
    return body[:-64], body[-64:], footer


def members(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BAD
    return found


class NoNumber:
    """A number that is not written in digits alone."""

    def __init__(self, text):
        pass


def json_object(data):
    def whole(text):
        return NoNumber(text) if text.startswith("-") else int(text)

    def constant(text):
        raise BAD

    try:
        found = json.loads(
            data.decode(), object_pairs_hook=members, parse_int=whole, parse_float=NoNumber, parse_constant=constant
        )
    except ValueError:
        raise BAD from None
    if not isinstance(found, dict):
        raise BAD
    return found


def seconds(text):
    """A time; those of this protocol are in UTC with Z, and others are read."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", text, re.A):
        raise BAD
    try:
        time = datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00"))
    except ValueError:
        raise BAD from None
    return int(time.timestamp())


def written(time):
    return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def canonical(address):
    local, at, domain = address.rpartition("@")
    label = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
    if not at or not re.fullmatch(rf"{label}(\.{label})*\.?", domain, re.A):
        raise BAD
    if local.startswith('"'):
        if not re.fullmatch(r'"([ !#-\[\]-~]|\\[ -~])*"', local):
            raise BAD
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    elif not re.fullmatch(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+", local, re.A):
        raise BAD
    return f"{local.lower()}@{domain.lower().rstrip('.')}"


COUNTED = "from sender reply-to to cc date message-id subject mime-version".split()


def fingerprint(message):
    """Of a message whose header ends with an empty line and has no odd bytes."""
    lines = message.replace("\r\n", "\n").split("\n\n", 1)
    fields = re.findall(r"^([!-9;-~]+):((?:.*)(?:\n[ \t].*)*)", lines[0] + "\n", re.M)
    text = ""
    for name, value in fields:
        name = name.lower()
        if name in COUNTED or (name.startswith("content-") and name != "content-length"):
            text += f"{name}:" + value.strip(" \t") + "\n"
    body = lines[1].rstrip("\n") + "\n"
    return hashlib.sha256((text + "\n" + body).replace("\n", "\r\n").encode()).digest()


# mailstamp-emstamp(5).
MOST = 2**53 - 1
NAME = r"[A-Za-z0-9_-]{1,64}"
ACCOUNT = r"[a-z0-9._-]{1,64}@[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"


def decimal(text):
    return int(text) if re.fullmatch(r"0|[1-9][0-9]{0,19}", text, re.A) else None


def credits(text):
    number = decimal(text)
    return number if number is not None and 1 <= number <= MOST else None


def read_offer(line):
    """An offer of the last line of a reply, as the client sees it; None if it is none, and an error text if it is broken."""
    if not line.startswith("250 2.1.5 EMSTAMP ") and line != "250 2.1.5 EMSTAMP":
        return None
    words = line[len("250 2.1.5 ") :].split(" ")
    if len(words) != 5 or any(not word.startswith(name) for word, name in zip(words[1:], OFFERED)):
        return {"broken": True}
    price, name, end, payee = (word.split("=", 1)[1] for word in words[1:])
    price, end = credits(price), decimal(end)
    whole = price is not None and end is not None and end < 2**63
    if not whole or not re.fullmatch(NAME, name, re.A) or not re.fullmatch(ACCOUNT, payee, re.A):
        return {"broken": True}
    return {"price": price, "id": name, "end": end, "payee": payee}


OFFERED = ["price=", "id=", "end=", "payee="]


def write_offer(offer):
    return "250 2.1.5 EMSTAMP price={price} id={id} end={end} payee={payee}".format(**offer)


def id_text(nonce, end, mailbox, price):
    head = nonce + end.to_bytes(4, "big")
    return b"emstamp-id\0" + head + canonical(mailbox).encode() + b"\0" + price.to_bytes(8, "big")


def make_id(key, nonce, end, mailbox, price):
    mac = hmac.digest(key, id_text(nonce, end, mailbox, price), "sha256")[:16]
    return encode(nonce + end.to_bytes(4, "big") + mac)


def end_of(name, key, mailbox, price, now):
    """The end of an ID that this server made."""
    try:
        data = decode(name)
    except Refused:
        raise RENEW from None
    nonce, end = data[:8], int.from_bytes(data[8:12], "big")
    if len(data) != 28 or make_id(key, nonce, end, mailbox, price) != name or now > end:
        raise RENEW
    return end


def payload_of(offer, mailbox, value, message):
    claims = {"jti": offer["id"], "aud": mailbox, "val": value, "msg": encode(message)}
    claims |= {"exp": written(offer["end"]), "payee": offer["payee"]}
    return json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()


def pay(offer, mailbox, value, message, seed, license):
    """The line EMST for an offer."""
    footer = json.dumps(license, separators=(",", ":")).encode()
    token = make_token(seed, payload_of(offer, mailbox, value, message), footer)
    line = f"EMST {offer['id']} {value} {token}"
    return line if len(line) + 2 <= 1536 else None


KNOWN = ["jti", "aud", "val", "msg", "exp", "payee", "crit"]


def examine(line, server, issued=None):
    """The recipient that a line EMST pays, and the fingerprint. Raises Refused with the reply.

    `issued` returns the end of an ID that the server gave out for a mailbox and a price; without it, IDs are those of the page.
    """
    if issued is None:
        id_key = bytes.fromhex(server["id_key"])
        issued = lambda name, mailbox, price: end_of(name, id_key, mailbox, price, server["now"])
    if len(line) + 2 > 1536:
        raise Refused("500 5.5.2")
    words = line.split(" ")
    form = len(words) == 4 and words[0].upper() == "EMST" and re.fullmatch(NAME, words[1], re.A)
    value = credits(words[2]) if form else None
    if value is None:
        raise Refused("501 5.5.4")
    payload, signature, footer = parts(words[3])
    names = json_object(footer)
    agency, license = names.get("iss"), names.get("kid")
    if not isinstance(agency, str) or not isinstance(license, str):
        raise BAD
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", license, re.A):
        raise BAD
    if agency not in server["agencies"]:
        raise BAD
    meter = server["agencies"][agency].get(license)
    if meter is None:
        raise LATER
    key = decode(meter["key"].removeprefix("k4.public."))
    if not is_signed(key, signed_bytes(payload, footer), signature):
        raise BAD
    if server["now"] > meter["not_after"]:
        raise RENEW
    if meter["not_after"] > server["now"] + 8 * 86400:
        raise LATER
    claims = json_object(payload)
    critical = claims.get("crit", [])
    if not isinstance(critical, list) or any(name not in KNOWN for name in critical):
        raise BAD
    if any(not isinstance(claims.get(name), str) for name in ("jti", "aud", "msg", "exp", "payee")):
        raise BAD
    if type(claims.get("val")) is not int or not 1 <= claims["val"] <= MOST:
        raise BAD
    if not re.fullmatch(NAME, claims["jti"], re.A) or not re.fullmatch(ACCOUNT, claims["payee"], re.A):
        raise BAD
    mailbox, end, message = canonical(claims["aud"]), seconds(claims["exp"]), decode(claims["msg"])
    if len(message) != 32 or (claims["jti"], claims["val"]) != (words[1], value):
        raise BAD
    if claims["payee"] != server["payee"] or agency != server["payee"].split("@")[1]:
        raise BAD
    prices = {canonical(box): price for box, price in server["recipients"].items()}
    if mailbox not in prices:
        raise BAD
    if issued(words[1], claims["aud"], prices[mailbox]) != end:
        raise BAD
    if not prices[mailbox] <= value <= meter["limit"]:
        raise BAD
    return {"mailbox": mailbox, "credits": value, "message": message.hex()}


def to_binary(token):
    payload, signature, footer = parts(token)
    return b"\4" + (len(payload) + 64).to_bytes(2, "big") + payload + signature + footer


def from_binary(data):
    length = int.from_bytes(data[1:3], "big")
    if data[:1] != b"\4" or len(data) < 3 + length:
        raise BAD
    body, footer = data[3 : 3 + length], data[3 + length :]
    token = f"v4.public.{encode(body)}" + (f".{encode(footer)}" if footer else "")
    parts(token)
    return token


def payment(payer, mailbox, message):
    text = b"emstamp-payment\0" + payer.to_bytes(8, "big") + canonical(mailbox).encode() + b"\0" + message
    return hashlib.sha256(text).digest()


def answer(given):
    what = given.pop("do")
    if what == "read offer":
        return read_offer(given["line"])
    if what == "examine":
        try:
            return {"reply": "250 2.1.5"} | examine(given["line"], given["server"])
        except Refused as refused:
            return {"reply": refused.args[0]}
    if what == "offer":
        key, nonce = bytes.fromhex(given["id_key"]), bytes.fromhex(given["nonce"])
        name = make_id(key, nonce, given["end"], given["mailbox"], given["price"])
        text = id_text(nonce, given["end"], given["mailbox"], given["price"])
        offer = {"price": given["price"], "id": name, "end": given["end"], "payee": given["payee"]}
        return {"line": write_offer(offer), "id_text": text.hex()}
    if what == "pay":
        offer, message, seed = read_offer(given["line"]), given["message"], bytes.fromhex(given["seed"])
        message = bytes.fromhex(message) if re.fullmatch("[0-9a-f]{64}", message) else fingerprint(message)
        line = pay(offer, given["mailbox"], given["credits"], message, seed, given["license"])
        token = line.split(" ")[3]
        payload, signature, footer = parts(token)
        return {
            "line": line,
            "key": f"k4.public.{encode(public_key(seed))}",
            "message": message.hex(),
            "payload": payload.decode(),
            "footer": footer.decode(),
            "pae": signed_bytes(payload, footer).hex(),
            "signature": signature.hex(),
            "token": token,
            "binary": to_binary(token).hex(),
            "payment": payment(given["payer"], given["mailbox"], message).hex(),
        }
    if what == "from binary":
        try:
            return {"token": from_binary(bytes.fromhex(given["binary"]))}
        except Refused:
            return {"token": None}
    raise ValueError(what)


if __name__ == "__main__":
    for request in sys.stdin:
        print(json.dumps(answer(json.loads(request))), flush=True)
