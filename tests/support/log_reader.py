"""Reads a vendor's public log from its files, by mailstamp-log(5) alone: python3 log_reader.py FOLDER VKEY

Verifies the checkpoint's signature, every tile and every entry bundle, and the root; prints size and leaves by kind.
Fails for a stamp that was taken back twice, or never sold."""
import base64, hashlib, pathlib, sys
from collections import Counter
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

folder, vkey = pathlib.Path(sys.argv[1]), sys.argv[2]
name, key_id, key = vkey.split("+", 2)
key = base64.b64decode(key)
assert key[0] == 1 and hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() == key_id
text, signatures = (folder / "checkpoint").read_text().split("\n\n")
line = next(line for line in signatures.splitlines() if line.split()[1] == name)
signature = base64.b64decode(line.split()[2])
assert signature[:4].hex() == key_id
Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], (text + "\n").encode())
origin, size, root = text.split("\n")[:3]
assert origin == name
size = int(size)


def path(level, index, width):
    parts = [f"{index % 1000:03}"]
    while index := index // 1000:
        parts.insert(0, f"x{index % 1000:03}")
    return folder / "tile" / level / ("/".join(parts) + ("" if width == 256 else f".p/{width}"))


def tiles(level, count):
    for index in range(-(-count // 256)):
        yield path(level, index, min(256, count - 256 * index)).read_bytes()


def parent(hashes):
    while len(hashes) > 1:
        hashes = [hashlib.sha256(b"\1" + a + b).digest() for a, b in zip(hashes[::2], hashes[1::2])]
    return hashes[0]


def tree(hashes):
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256().digest()
    left = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + tree(hashes[:left]) + tree(hashes[left:])).digest()


leaves = []
for bundle in tiles("entries", size):
    while bundle:
        length = int.from_bytes(bundle[:2], "big")
        leaves.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
assert len(leaves) == size
hashes, level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves], 0
assert tree(hashes) == base64.b64decode(root)
while hashes:
    assert b"".join(tiles(str(level), len(hashes))) == b"".join(hashes), f"level {level}"
    hashes = [parent(hashes[at : at + 256]) for at in range(0, len(hashes) // 256 * 256, 256)]
    level += 1
kinds = {1: "issued", 2: "deposited", 3: "refunded", 4: "revoked", 5: "cleared", 6: "licensed"}
print(size, *(f"{kinds[kind]}={count}" for kind, count in sorted(Counter(leaf[0] for leaf in leaves).items())))
sold = {leaf[1:33] for leaf in leaves if leaf[0] == 1}
taken = Counter(leaf[1:33] for leaf in leaves if leaf[0] in (2, 3))
wrong = [f"{stamp.hex()} was taken back {count} times" for stamp, count in taken.items() if count > 1]
sys.exit("\n".join(wrong + [f"{stamp.hex()} was never sold" for stamp in taken if stamp not in sold]) or None)
