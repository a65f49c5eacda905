"""Stands before Pebble and gives what it has not: advice on renewal (RFC 9773), and limits.

    acme_advice.py PORT PEBBLE CA CERTIFICATE KEY

What it is asked goes to asked.log in the directory that it runs in; window.json there is the advice, and while there is a
file called limited, nobody may order; while there is one called closed, the account is closed, until another is made.
"""

import base64
import http.client
import http.server
import json
import os
import ssl
import sys

PORT, PEBBLE, CA, CERTIFICATE, KEY = sys.argv[1:]
TRUST = ssl.create_default_context(cafile=CA)


def note(text):
    with open("asked.log", "a") as log:
        log.write(text + "\n")


def payload(body):
    text = json.loads(body)["payload"]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) or b"{}")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, fields, body):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.startswith("/renewal-info/"):
            note("advice " + self.path.rsplit("/", 1)[1])
            window = json.dumps({"suggestedWindow": json.load(open("window.json"))})
            return self.reply(200, [("content-type", "application/json"), ("retry-after", "3600")], window.encode())
        wanted = payload(body) if self.path == "/order-plz" else {}
        if wanted:
            note("order " + str(wanted.get("replaces")))
            if os.path.exists("limited"):
                problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates"}
                fields = [("content-type", "application/problem+json"), ("retry-after", "86400")]
                return self.reply(429, fields, json.dumps(problem).encode())
        if self.path == "/sign-me-up" and os.path.exists("closed"):
            os.remove("closed")
        if self.command == "POST" and os.path.exists("closed"):
            problem = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "account is deactivated"}
            return self.reply(403, [("content-type", "application/problem+json")], json.dumps(problem).encode())
        # Pebble names itself as it is called.
        there = http.client.HTTPSConnection(PEBBLE, context=TRUST)
        there.request(self.command, self.path, body, {name: value for name, value in self.headers.items()})
        answer = there.getresponse()
        said = answer.read()
        if self.path == "/dir":
            directory = json.loads(said)
            directory["renewalInfo"] = f"https://127.0.0.1:{PORT}/renewal-info"
            said = json.dumps(directory).encode()
        if wanted.get("replaces") and answer.status == 201:
            said = json.dumps(json.loads(said) | {"replaces": wanted["replaces"]}).encode()
        kept = ("content-type", "replay-nonce", "location", "retry-after", "link")
        self.reply(answer.status, [field for field in answer.getheaders() if field[0].lower() in kept], said)

    do_GET = do_POST = do_HEAD = serve

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
