"""A client of HTTP/2 by the package h2, which goes through what a proxy may stumble over.

http2_client.py ADDRESS CASE: exits with 0 and prints the case's name when all is as it should be. Whom it talks to behind
the proxy is `node/server.js`.
"""

import json
import socket
import sys
import time

import h2.config
import h2.connection
import h2.events

MANY = 128 << 20
# What lies in buffers of ours, theirs and the kernel's on the way, of MANY.
FEW = 32 << 20

address, case = sys.argv[1:3]
host, port = address.split(":")


class Client:
    """One connection. What is told of each stream is kept; data is acknowledged only when it is read."""

    def __init__(self):
        self.socket = socket.create_connection((host, int(port)))
        self.socket.settimeout(20)
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.told = {}
        self.flush()

    def flush(self):
        self.socket.sendall(self.http2.data_to_send())

    def request(self, method, path, ends=False):
        stream = self.http2.get_next_available_stream_id()
        self.told[stream] = {"body": b"", "unread": 0, "early": []}
        head = [(":method", method), (":scheme", "http"), (":authority", address), (":path", path), ("te", "trailers")]
        self.http2.send_headers(stream, head, end_stream=ends)
        self.flush()
        return stream

    def send(self, stream, body):
        """Sends as much as there is room for, and waits for more; what has come back is taken, or both might wait."""
        while body:
            room = min(self.http2.local_flow_control_window(stream), self.http2.max_outbound_frame_size, len(body))
            if room == 0:
                self.take(stream)
                self.read()
                continue
            self.http2.send_data(stream, body[:room])
            self.flush()
            body = body[room:]

    def read(self):
        data = self.socket.recv(65536)
        assert data, "the connection ended"
        for event in self.http2.receive_data(data):
            told = self.told.get(getattr(event, "stream_id", None))
            if told is None:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                told["head"] = dict(event.headers)
            elif isinstance(event, h2.events.InformationalResponseReceived):
                told["early"].append(dict(event.headers)[":status"])
            elif isinstance(event, h2.events.DataReceived):
                told["body"] += event.data
                told["unread"] += event.flow_controlled_length
            elif isinstance(event, h2.events.TrailersReceived):
                told["trailers"] = dict(event.headers)
            elif isinstance(event, h2.events.StreamEnded):
                told["ended"] = True
            elif isinstance(event, h2.events.StreamReset):
                told["reset"] = event.error_code
        self.flush()

    def take(self, stream):
        """Makes room for as much as has come."""
        told = self.told[stream]
        if told["unread"] and "ended" not in told and "reset" not in told:
            self.http2.acknowledge_received_data(told["unread"], stream)
            self.flush()
        told["unread"] = 0

    def wait(self, stream, what):
        while what not in self.told[stream]:
            self.take(stream)
            self.read()
        return self.told[stream]

    def fetch(self, path):
        return self.wait(self.request("GET", path, ends=True), "ended")["body"]


def seen():
    return json.loads(Client().fetch("/seen"))


def eventually(what, look):
    until = time.monotonic() + 15
    while not look():
        assert time.monotonic() < until, "not in time: " + what
        time.sleep(0.02)


def bodies():
    client = Client()
    for size in (0, 1, 65535, 65536, 3_000_000):
        whole = bytes((at // 251 + at % 251) & 255 for at in range(size))
        stream = client.request("POST", "/echo")
        sent = 0
        while sent < size:
            client.send(stream, whole[sent : sent + 9973])
            sent += 9973
        client.http2.end_stream(stream)
        client.flush()
        told = client.wait(stream, "ended")
        assert told["head"][":status"] == "200"
        assert told["body"] == whole, size


def trailers():
    client = Client()
    stream = client.request("POST", "/echo")
    client.send(stream, b"hello")
    client.http2.send_headers(stream, [("x-up", "went up")], end_stream=True)
    client.flush()
    told = client.wait(stream, "ended")
    assert told["body"] == b"hello"
    assert told["trailers"] == {"x-sum": "5", "x-got": "went up"}, told


def interim():
    client = Client()
    told = client.wait(client.request("GET", "/interim", ends=True), "ended")
    assert told["body"] == b"whole" and told["early"] == ["103"], told


def cancellation():
    client = Client()
    stream = client.request("GET", "/hang", ends=True)
    eventually("it is there", lambda: seen()["waiting"] == 1)
    client.http2.reset_stream(stream, 8)
    client.flush()
    eventually("it is cancelled", lambda: seen()["cancelled"] == 1)
    stream = client.request("GET", "/drip", ends=True)
    while client.told[stream]["body"] != b"one":
        client.read()
    # The whole connection, this time.
    client.socket.close()
    eventually("it is cancelled too", lambda: seen()["cancelled"] == 2)


def breaking():
    client = Client()
    told = client.wait(client.request("GET", "/break", ends=True), "reset")
    assert told["body"] == b"half" and "ended" not in told, told


def pressure_down():
    client = Client()
    stream = client.request("GET", "/flood", ends=True)
    last, since = -1, time.monotonic()
    while time.monotonic() - since < 1:
        now = seen()["sent"]
        assert now < MANY, "nothing stopped it"
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.05)
    assert last < FEW, last
    size = 0
    told = client.told[stream]
    while "ended" not in told:
        client.take(stream)
        client.read()
        size += len(told["body"])
        told["body"] = b""
    assert size == MANY, size


def pressure_up():
    client = Client()
    stream = client.request("POST", "/lazy")
    client.socket.settimeout(2)
    sent = 0
    try:
        while sent < MANY:
            client.send(stream, bytes(1 << 20))
            sent += 1 << 20
    except TimeoutError:
        pass
    assert sent < FEW, sent
    client.socket.settimeout(20)
    Client().fetch("/take")
    # Of the last piece some went.
    client.http2.end_stream(stream)
    client.flush()
    assert int(client.wait(stream, "ended")["body"]) >= sent


def small_pieces():
    """A body of many small pieces that nobody takes for a while, each a frame of its own."""
    client = Client()
    stream = client.request("POST", "/lazy")
    sent = 0
    client.socket.settimeout(1)
    try:
        while sent < 500_000:
            client.send(stream, bytes(25))
            sent += 25
    except TimeoutError:
        pass
    # Its window is full, or all of it lies in the kernel's buffers before a server of HTTP/1.1.
    assert sent > 200_000, sent
    client.socket.settimeout(20)
    Client().fetch("/take")
    client.http2.end_stream(stream)
    client.flush()
    assert sent <= int(client.wait(stream, "ended")["body"]) < sent + 25


def early_answer():
    client = Client()
    stream = client.request("POST", "/early")
    try:
        while "ended" not in client.told[stream] and "reset" not in client.told[stream]:
            client.send(stream, bytes(16 << 10))
            client.socket.settimeout(0.01)
            try:
                client.read()
            except TimeoutError:
                pass
            client.socket.settimeout(20)
    except h2.exceptions.StreamClosedError:
        pass
    told = client.wait(stream, "ended")
    assert told["head"][":status"] == "413" and told["body"] == b"enough", told
    # And the connection goes on.
    assert json.loads(client.fetch("/seen"))["waiting"] == 0


globals()[case]()
print(case)
