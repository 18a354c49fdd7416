# An adapter of a payment provider (mailstamp-vendor(8)), with a provider that takes no money: who opens the payment page
# has paid. Prints its port.
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY, PAYMENTS = sys.argv[1], {}


class Adapter(BaseHTTPRequestHandler):
    def answer(self, status, **members):
        body = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def shown(self, payment):
        link = f"http://{self.headers['Host']}/invoice/{payment['reference']}"
        more = {"pay": link} if payment["state"] == "open" else {}
        self.answer(200, state=payment["state"], paid=f"{payment['amount']} {payment['currency']}", **more)

    def do_GET(self):
        _, kind, reference = self.path.split("/")
        payment = PAYMENTS.get(reference)
        if payment and kind == "invoice" and payment["state"] == "open":
            payment["state"] = "paid"
        elif kind == "payments" and self.headers["Authorization"] != f"Bearer {KEY}":
            return self.answer(401)
        self.shown(payment) if payment else self.answer(404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {KEY}":
            return self.answer(401)
        if self.path == "/payments":
            return self.shown(PAYMENTS.setdefault(body["reference"], {"state": "open", **body}))
        payment = PAYMENTS[self.path.split("/")[2]]
        payment["state"] = "refunded"
        self.shown(payment)


server = ThreadingHTTPServer(("127.0.0.1", 0), Adapter)
print(server.server_address[1], flush=True)
server.serve_forever()
