#!/usr/bin/env python3
"""Verifies evidence of `mailstamp trust check`, from mailstamp-log(5) alone: verify_log.py FOLDER k4.public.KEY

KEY is a key of the vendor. Prints what is proven, and fails when nothing is."""
import base64, functools, hashlib, json, pathlib, struct, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

folder, paserk = pathlib.Path(sys.argv[1]), sys.argv[2]
url = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
sha = lambda *parts: hashlib.sha256(b"".join(parts)).digest()
verify = lambda key, signature, message: Ed25519PublicKey.from_public_bytes(key).verify(signature, message)


def token(text, key, purpose):  # PASETO v4.public with the purpose as implicit assertion
    _, _, body, footer = text.split(".")
    body, parts = url(body), []
    for part in (b"v4.public.", body[:-64], url(footer), purpose):
        parts += [struct.pack("<Q", len(part)), part]
    verify(key, body[-64:], struct.pack("<Q", 4) + b"".join(parts))
    return json.loads(body[:-64]), json.loads(url(footer))


def checkpoint(name, vkey):  # a signed note: origin, size and root
    origin, ident, key = vkey.split("+")
    text, _, lines = (folder / name).read_text().rpartition("\n\n")
    text += "\n"
    for line in lines.splitlines():
        _, signer, signature = line.split(" ")
        signature = base64.b64decode(signature)
        if signer == origin and signature[:4].hex() == ident:
            verify(base64.b64decode(key)[1:], signature[4:], text.encode())
            assert text.split("\n")[0] == origin
            return int(text.split("\n")[1]), base64.b64decode(text.split("\n")[2])
    raise SystemExit(f"{name} is not signed")


def path(kind, n, width):
    parts = [f"{n % 1000:03}"]
    while n := n // 1000:
        parts.insert(0, f"x{n % 1000:03}")
    return folder / f"tile/{kind}/{'/'.join(parts)}{'' if width == 256 else f'.p/{width}'}"


@functools.cache
def entries(n, size):
    data, found = path("entries", n, min(256, size - 256 * n)).read_bytes(), []
    while data:
        length = int.from_bytes(data[:2], "big")
        found, data = found + [data[2 : 2 + length]], data[2 + length :]
    return found


def root(nodes):  # RFC 6962 section 2.1
    if len(nodes) == 1:
        return nodes[0]
    half = 1 << (len(nodes) - 1).bit_length() - 1
    return sha(b"\1", root(nodes[:half]), root(nodes[half:]))


@functools.cache
def tile(level, n, size):  # hashes of a tile, verified against the tiles above it
    width = min(256, (size >> 8 * level) - 256 * n)
    if level == 0:
        nodes = [sha(b"\0", entry) for entry in entries(n, size)]
    else:
        data = path(level, n, width).read_bytes()
        nodes = [data[at : at + 32] for at in range(0, len(data), 32)]
    assert len(nodes) == width
    if width == 256:
        assert root(nodes) == tile(level + 1, n // 256, size)[n % 256], f"tile {level} {n} is not in the tree"
    return nodes


def head_root(size):  # from the right edge
    rest = []
    for level in range(8):
        width = (size >> 8 * level) % 256
        nodes = (tile(level, (size >> 8 * level) // 256, size) if width else []) + rest
        rest = [root(nodes)] if nodes else []
    return rest[0] if rest else sha()


def node(level, index, size):  # the subtree of 2**level leaves
    first = index << level % 8
    return root(tile(level // 8, first // 256, size)[first % 256 :][: 1 << level % 8])


def root_at(old, size):
    nodes, done = [], 0
    for level in reversed(range(64)):
        if old >> level & 1:
            nodes, done = nodes + [node(level, done >> level, size)], done + (1 << level)
    while len(nodes) > 1:
        nodes[-2:] = [sha(b"\1", *nodes[-2:])]
    return nodes[0]


problem = json.loads((folder / "problem.json").read_text())
vendor = problem["vendor"]
directory, _ = token(json.loads((folder / "directory.json").read_text())["directory"], url(paserk.split(".")[2]), b"digital-stamp-directory")
own = next(entry for entry in directory["vendors"] if entry["vendor"] == vendor)
vkey = own["log"]["vkey"]
size, head = checkpoint("checkpoint", vkey)
if problem["problem"] in ("split-view", "rolled-back"):
    other, other_head = checkpoint("checkpoint.other", vkey)
    if problem["problem"] == "rolled-back":
        assert size < other
    elif size == other:
        assert head != other_head
    else:
        assert head_root(size) == head and root_at(other, size) != other_head
    print(f"{vendor} signed two heads: {size} and {other} leaves")
elif problem["problem"] == "directory-forked":
    known = json.loads((folder / "directory.other.json").read_text())["directory"]
    token(known, url(paserk.split(".")[2]), b"digital-stamp-directory")
    known_payload = url(known.split(".")[2])[:-64]
    known_version, now = json.loads(known_payload)["version"], directory
    assert now["version"] >= known_version
    while now.get("previous", {"version": 0})["version"] > known_version:
        earlier = json.loads((folder / f"editions/{now['previous']['version']}.json").read_text())["directory"]
        payload = url(earlier.split(".")[2])[:-64]
        assert sha(payload).hex() == now["previous"]["hash"]
        now = json.loads(payload)
    before = now.get("previous", {"version": 0, "hash": ""})
    if now["version"] == known_version:
        assert now != json.loads(known_payload)
    else:
        assert before != {"version": known_version, "hash": sha(known_payload).hex()}
    print(f"{vendor} signed two directories of which neither continues the other")
elif problem["problem"] in ("changed", "cut"):
    name = problem["text"].split()[0]
    n = int("".join(part.lstrip("x") for part in name.split("/")[2:]))
    assert name == f"tile/entries/{n:03}" and head_root(size) == head, "the tree has another root"
    try:
        tile(0, n, size)
        raise SystemExit(f"{name} is in the tree")
    except AssertionError:
        print(f"{name} is not the file that {vendor} signed")
elif problem["problem"] in ("not-logged", "other-value"):
    stamp = (folder / "stamp").read_text().strip()
    kid = json.loads(url(stamp.split(".")[3]))["kid"]
    key = next(entry["key"] for entry in own["keys"] if entry["kid"] == kid)
    claims, _ = token(stamp, url(key.split(".")[2]), b"digital-stamp")
    day = int.from_bytes(url(claims["jti"])[:4], "big") // 86400
    subject = sha(b"serial\n", vendor.encode(), b"\n", claims["jti"].encode())
    assert head_root(size) == head, "the tree has another root"
    bundles = [n for n in range((size + 255) // 256) if path("entries", n, min(256, size - 256 * n)).exists()]
    runs = [n for n in bundles if tile(0, n, size)]
    leaves = [(int.from_bytes(entry[41:], "big"), entry[0], entry[1:33]) for n in runs for entry in entries(n, size)]
    lasts = {n: int.from_bytes(entries(n, size)[-1][41:], "big") for n in runs}
    firsts = {n: int.from_bytes(entries(n, size)[0][41:], "big") for n in runs}
    if problem["problem"] == "other-value":
        logged = {int.from_bytes(entry[33:41], "big") for n in runs for entry in entries(n, size) if entry[:33] == b"\1" + subject}
        assert logged and claims.get("val", 1) not in logged, "the value is the stamp's"
        raise SystemExit(print(f"{vendor} signed a stamp and logged it with another value"))
    low = max([n + 1 for n in runs if lasts[n] < day], default=0)
    high = min([n for n in runs if firsts[n] > day], default=(size + 255) // 256)
    assert all(n in runs for n in range(low, high)), "leaves of the day are missing in the evidence"
    assert not any(kind == 1 and found == subject for _, kind, found in leaves), "the stamp is in the log"
    print(f"{vendor} signed a stamp on day {day} and did not log it")
else:
    raise SystemExit("not a problem that this program verifies")
