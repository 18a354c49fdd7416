# A server that takes mail from its users, for tests: TLS from the first byte on, after STARTTLS, or not; AUTH PLAIN and
# LOGIN of one user. What it took stands in a file, a JSON object a line. Arguments: mode, certificate, key, file. It prints its
# port first.
import base64, json, socket, ssl, sys, threading

mode, certificate, key, path = sys.argv[1:]
USER, PASSWORD = "alice", "s3cret word"


def wrapped(connection):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context.wrap_socket(connection, server_side=True)


def serve(connection):
    secure = mode == "implicit"
    if secure:
        connection = wrapped(connection)
    stream, user, sender, to = connection.makefile("rwb"), None, None, []

    def say(text):
        stream.write(text.encode() + b"\r\n")
        stream.flush()

    say("220 server ready")
    while True:
        line = stream.readline().decode().rstrip("\r\n")
        word = line.split(" ")[0].upper()
        if word == "EHLO":
            # Pipelining everywhere, so that a refused envelope has DATA behind it.
            offers = ["server", "PIPELINING"] + (["STARTTLS"] if mode == "starttls" and not secure else [])
            offers += ["AUTH PLAIN LOGIN"] if secure else []
            say("\r\n".join(f"250-{offer}" for offer in offers) + "\r\n250 8BITMIME")
        elif word == "STARTTLS":
            say("220 go on")
            connection, secure = wrapped(connection), True
            stream = connection.makefile("rwb")
        elif word == "AUTH":
            said = base64.b64decode(line.split(" ")[2]).decode().split("\0")
            user = said[1] if said[1:] == [USER, PASSWORD] else None
            say("235 welcome" if user else "535 5.7.8 who are you")
        elif word == "MAIL":
            sender = line[10:].split(">")[0].lstrip("<")
            say("250 ok" if user or mode == "none" else "530 5.7.0 log in")
        elif word == "RCPT":
            to = [line[8:].split(">")[0].lstrip("<")]
            code = {"gone": "550 5.1.1 no such user", "busy": "451 4.3.0 later"}.get(to[0].split("@")[0])
            say(code or "250 ok")
        elif word == "DATA":
            say("354 go")
            lines = []
            while (data := stream.readline()) != b".\r\n":
                if not data:
                    return
                lines.append(data[1:] if data.startswith(b".") else data)
            taken = {"user": user, "from": sender, "to": to, "secure": secure, "data": b"".join(lines).decode()}
            with open(path, "a") as file:
                file.write(json.dumps(taken) + "\n")
            say("250 taken")
        elif word == "QUIT":
            say("221 bye")
            return
        elif not word:
            return
        else:
            say("502 what")


def serve_quietly(connection):
    try:
        serve(connection)
    except (OSError, ValueError):
        pass
    finally:
        connection.close()


listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve_quietly, args=(listener.accept()[0],), daemon=True).start()
