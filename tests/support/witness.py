"""A witness of one log, by C2SP tlog-witness and tlog-cosignature alone: python3 witness.py FOLDER NAME SEED LOGKEY

Prints its key and its address, and serves on the loopback interface until standard input ends. FOLDER/seen.json has what
it cosigned last, FOLDER/requests a line for each request, and FOLDER/mode what it does wrong, if anything."""
import base64, hashlib, http.server, json, os, pathlib, sys, threading, time
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
secret = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(sys.argv[3]))
origin, log_id, log_key = sys.argv[4].split("+", 2)
log_key = Ed25519PublicKey.from_public_bytes(base64.b64decode(log_key)[1:])
sha = lambda *parts: hashlib.sha256(b"".join(parts)).digest()
node = lambda left, right: sha(b"\1", left, right)
lock = threading.Lock()


def key_id(key):
    return sha(name.encode(), b"\n\4", key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))[:4]


def cosign(text, key=secret, at=None):
    at = int(time.time()) if at is None else at
    signature = key.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
    return f"\u2014 {name} {base64.b64encode(key_id(secret) + at.to_bytes(8, 'big') + signature).decode()}\n"


def continues(old, old_root, new, new_root, proof):  # RFC 9162 section 2.1.4.2
    if old in (0, new):
        return not proof and (old == 0 or old_root == new_root)
    if old & old - 1 == 0:
        proof = [old_root, *proof]
    if not proof:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    left = right = proof[0]
    for step in proof[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            left, right = node(step, left), node(step, right)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            right = node(right, step)
        at, last = at >> 1, last >> 1
    return last == 0 and (left, right) == (old_root, new_root)


def seen():
    try:
        state = json.loads((folder / "seen.json").read_text())
        return state["size"], bytes.fromhex(state["root"])
    except FileNotFoundError:
        return 0, sha()


def see(size, root):  # persisted before the answer
    with open(folder / "seen.new", "w") as file:
        json.dump({"size": size, "root": root.hex()}, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(folder / "seen.new", folder / "seen.json")


def answer(body):
    """Returns status, media type and body of the answer."""
    head, _, note = body.partition("\n\n")
    old, *proof = head.split("\n")
    word, _, number = old.partition(" ")
    if word != "old" or not number.isdecimal() or str(int(number)) != number or len(proof) > 63:
        return 400, "text/plain", "malformed"
    old, proof = int(number), [base64.b64decode(line, validate=True) for line in proof]
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    said, size, root = text.split("\n")[:3]
    size, root = int(size), base64.b64decode(root, validate=True)
    if said != origin:
        return 404, "text/plain", "unknown log"
    signatures = [line.split(" ") for line in lines.splitlines()]
    signatures = [base64.b64decode(line[2]) for line in signatures if line[:2] == ["\u2014", origin]]
    try:
        log_key.verify(next(it[4:] for it in signatures if it[:4].hex() == log_id), text.encode())
    except (InvalidSignature, StopIteration):
        return 403, "text/plain", "not signed by the log"
    if old > size:
        return 400, "text/plain", "shrinks"
    last, last_root = seen()
    if old != last or old == size and root != last_root:
        return 409, "text/x.tlog.size", f"{last}\n"
    if not continues(old, last_root, size, root, proof):
        return 422, "text/plain", "not consistent"
    see(size, root)
    return 200, "text/plain; charset=utf-8", cosign(text)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        mode = folder / "mode"
        mode = mode.read_text() if mode.exists() else ""
        with lock:
            status, media, text = answer(body) if self.path == "/a/add-checkpoint" else (404, "text/plain", "")
            with open(folder / "requests", "a") as file:
                file.write(f"{body.splitlines()[0]} {status}\n")
        while mode == "waits" and not (folder / "go").exists():
            time.sleep(0.01)
        if mode == "dies":  # after it has seen the head, before it answers
            os._exit(1)
        head = body.partition("\n\n")[2].rpartition("\n\n")[0] + "\n"
        if status == 200 and mode == "garbage":
            text = "<html>\n"
        elif status == 200 and mode == "other-key":
            text = cosign(head, Ed25519PrivateKey.from_private_bytes(bytes(32)))
        elif status == 200 and mode == "other-head":
            text = cosign(head.replace("\n", "\nmore\n", 1))
        elif status == 200 and mode == "yesterday":
            text = cosign(head, at=int(time.time()) - 86400)
        elif status == 200 and mode == "epoch":
            text = cosign(head, at=0)
        elif status == 409 and mode == "wrong-size":
            text = "12 leaves\n"
        elif mode == "redirects":
            status, text = 307, ""
        self.send_response(status)
        self.send_header("Content-Type", media)
        if mode == "redirects":
            self.send_header("Location", "/b/add-checkpoint")
        if mode == "endless":
            self.end_headers()
            while True:
                self.wfile.write(b"\n" * 4096)
        data = text.encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):  # a client that goes away
        pass


server = Server(("127.0.0.1", 0), Handler)
key = b"\4" + secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
print(f"{name}+{key_id(secret).hex()}+{base64.b64encode(key).decode()} http://127.0.0.1:{server.server_port}/a", flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
