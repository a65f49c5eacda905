"""Asks over HTTP/3 with aioquic: the scenario that the first argument names, and says how it went in one line of JSON.

    http3_client.py SCENARIO PORT CA [ARGUMENT…]
"""

import asyncio
import bisect
import contextlib
import json
import os
import socket
import ssl
import sys
import time

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.buffer import Buffer, BufferReadError, encode_uint_var
from aioquic.h3.connection import H3_ALPN, ErrorCode, FrameType, H3Connection, encode_frame
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

PATIENCE = 60


class Frames(H3Connection):
    """Says so when there is GOAWAY, which is read past otherwise, and expects no body behind the answer to a HEAD."""

    def __init__(self, quic):
        super().__init__(quic)
        self.goaways = None
        self.heads = set()

    def _receive_stream_data_uni(self, stream, data, stream_ended):
        if stream.stream_id == self._peer_control_stream_id or stream.stream_type is None:
            self.look(data)
        return super()._receive_stream_data_uni(stream, data, stream_ended)

    def look(self, data):
        """A frame of GOAWAY comes in a packet of its own here."""
        buffer = Buffer(data=data)
        with contextlib.suppress(BufferReadError):
            while not buffer.eof():
                kind, length = buffer.pull_uint_var(), buffer.pull_uint_var()
                frame = Buffer(data=buffer.pull_bytes(length))
                if kind == FrameType.GOAWAY:
                    self.goaways = (self.goaways or []) + [frame.pull_uint_var()]

    def _check_content_length(self, stream):
        if stream.stream_id not in self.heads:
            super()._check_content_length(stream)


class Answer:
    def __init__(self):
        self.status = None
        self.headers = []
        self.interim = []
        self.trailers = None
        self.body = bytearray()
        self.length = 0
        self.keeps = True
        self.begun = asyncio.Event()
        self.moved = asyncio.Event()
        self.done = asyncio.get_running_loop().create_future()
        self.stopped = None

    def end(self, result):
        self.begun.set()
        self.moved.set()
        if not self.done.done():
            self.done.set_result(result)

    async def wait(self):
        """How it ended: None when it is whole, or a code."""
        return await asyncio.wait_for(asyncio.shield(self.done), PATIENCE)

    def summary(self):
        return {
            "status": self.status,
            "length": self.length,
            "headers": [[name, value] for name, value in self.headers],
            "trailers": self.trailers,
        }


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = Frames(self._quic)
        self.answers = {}
        self.ended = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        if isinstance(event, StreamReset):
            if event.stream_id in self.answers:
                self.answers[event.stream_id].end(event.error_code)
        elif isinstance(event, StopSendingReceived):
            if event.stream_id in self.answers:
                self.answers[event.stream_id].stopped = event.error_code
        elif isinstance(event, ConnectionTerminated):
            if not self.ended.done():
                self.ended.set_result(event.error_code)
            for answer in self.answers.values():
                answer.end(f"connection {event.error_code:#x}")
        if isinstance(event, StreamDataReceived) or not isinstance(event, (StreamReset, StopSendingReceived)):
            for told in self.http.handle_event(event):
                self.told(told)

    def told(self, event):
        answer = self.answers.get(event.stream_id)
        if answer is None:
            return
        if isinstance(event, HeadersReceived):
            fields = [(name.decode(), value.decode()) for name, value in event.headers]
            status = dict(fields).get(":status")
            if status is None:
                answer.trailers = fields
            elif status.startswith("1"):
                answer.interim.append(int(status))
            else:
                answer.status, answer.headers = int(status), fields[1:]
                answer.begun.set()
        elif isinstance(event, DataReceived):
            answer.length += len(event.data)
            if answer.keeps:
                answer.body += event.data
            answer.moved.set()
        if event.stream_ended:
            answer.end(None)

    def head(self, method, path, more=(), authority=None, end=True):
        """Sends a head; the stream's number."""
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = Answer()
        authority = authority or self.authority
        if method == "HEAD":
            self.http.heads.add(stream)
        head = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path), *more]
        self.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in head], end_stream=end)
        self.transmit()
        return stream

    async def ask(self, method, path, body=None, more=(), trailers=None):
        stream = self.head(method, path, more, end=body is None and trailers is None)
        answer = self.answers[stream]
        if body is not None:
            for at in range(0, len(body), 65536):
                piece = body[at : at + 65536]
                self.http.send_data(stream, piece, end_stream=trailers is None and at + 65536 >= len(body))
                self.transmit()
                await asyncio.sleep(0)
            if not body:
                self.http.send_data(stream, b"", end_stream=trailers is None)
        if trailers is not None:
            self.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in trailers], end_stream=True)
        self.transmit()
        assert await answer.wait() is None, f"{method} {path}: {answer.done.result()}"
        return answer

    def raw(self, data, end=True):
        """Sends bytes on a new request stream."""
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self._quic.send_stream_data(stream, data, end_stream=end)
        self.transmit()
        return stream

    def uni(self, data, end=False):
        """Sends bytes on a new stream of one direction."""
        stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self._quic.send_stream_data(stream, data, end_stream=end)
        self.transmit()
        return stream

    async def over(self):
        return await asyncio.wait_for(asyncio.shield(self.ended), PATIENCE)


def configuration(ca, name="localhost", **more):
    made = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name, **more)
    made.load_verify_locations(ca)
    return made


@contextlib.asynccontextmanager
async def client(port, ca, configured=None, wait=True, name="localhost", protocol=Client):
    configured = configured or configuration(ca, name)
    # aioquic looks a host's IPv6 address up first; ours are these.
    async with connect("127.0.0.1", port, configuration=configured, create_protocol=protocol, wait_connected=wait) as made:
        made.authority = f"{name}:{port}"
        yield made


SCENARIOS = {}


def scenario(run):
    SCENARIOS[run.__name__] = run
    return run


@scenario
async def ask(port, ca, method, path, more="[]", name="localhost", authority=None):
    async with client(port, ca, name=name) as made:
        stream = made.head(method, path, [tuple(field) for field in json.loads(more)], authority=authority)
        answer = made.answers[stream]
        ended = await answer.wait()
        return {"ended": ended, "body": answer.body.decode("latin-1"), "interim": answer.interim, **answer.summary()}


@scenario
async def sizes(port, ca):
    """Bodies of every size both ways, with and without a length; the backend sends back what it gets."""
    async with client(port, ca) as made:
        for size in (0, 1, 2, 100, 1199, 1200, 1201, 16383, 16384, 16385, 65535, 65536, 262144, 300000, 3000000):
            body = os.urandom(size)
            for more in ([], [("content-length", str(size))]):
                answer = await made.ask("POST", "/echo", body, more)
                assert answer.status == 200 and bytes(answer.body) == body, (size, more, answer.status, answer.length)
        return {"sizes": "fine"}


@scenario
async def trailers(port, ca):
    async with client(port, ca) as made:
        answer = await made.ask("POST", "/trailers", b"hello", [("te", "trailers")], [("x-sum", "5"), ("x-more", "yes")])
        return {"body": answer.body.decode(), **answer.summary()}


@scenario
async def many(port, ca, count, path="/"):
    """So many requests, a hundred at a time."""
    async with client(port, ca) as made:
        left, fine = int(count), 0
        while left > 0:
            batch = min(left, 100)
            answers = await asyncio.gather(*(made.ask("GET", path) for _ in range(batch)))
            fine += sum(answer.status == 200 for answer in answers)
            left -= batch
        return {"fine": fine}


@scenario
async def held(port, ca, count):
    """So many requests at once, none of which is answered before all have been asked."""
    async with client(port, ca) as made:
        answers = await asyncio.gather(*(made.ask("GET", "/gate") for _ in range(int(count))))
        return {"fine": sum(answer.status == 200 for answer in answers)}


@scenario
async def cancel(port, ca):
    """Gives a request up while it waits for its answer, and one in the middle of its body."""
    async with client(port, ca) as made:
        stream = made.head("GET", "/never")
        await asyncio.sleep(0.2)
        made._quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        made.transmit()
        print(json.dumps({"cancelled": 1}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        stream = made.head("POST", "/upload", end=False)
        made.http.send_data(stream, b"x" * 1000, end_stream=False)
        made.transmit()
        await asyncio.sleep(0.2)
        made._quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        made.transmit()
        print(json.dumps({"cancelled": 2}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        answer = await made.ask("GET", "/")
        return {"after": answer.status}


@scenario
async def slow(port, ca, size):
    """Takes an answer only when told to: what we may be sent is as much as fits into the window until then."""
    configured = configuration(ca, max_stream_data=65536, max_data=65536)

    class Slow(Client):
        """Gives no further credit until it is told to."""

        def hold(self):
            quic = self._quic
            quic._write_connection_limits = lambda builder, space: None
            quic._write_stream_limits = lambda builder, space, stream: None

        def release(self):
            del self._quic._write_connection_limits
            del self._quic._write_stream_limits

    async with client(port, ca, configured, protocol=Slow) as made:
        made.hold()
        stream = made.head("GET", f"/bytes/{size}")
        answer = made.answers[stream]
        answer.keeps = False
        await asyncio.wait_for(answer.begun.wait(), PATIENCE)
        await asyncio.sleep(0.5)
        print(json.dumps({"held": answer.length}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        made.release()
        await made.ping()
        ended = await answer.wait()
        return {"ended": ended, "length": answer.length}


@scenario
async def rebind(port, ca, times):
    """Changes its port in the middle of a connection, as a translator of addresses may, and asks on."""
    fine = 0
    async with client(port, ca) as made:
        loop = asyncio.get_running_loop()
        for _ in range(int(times)):
            fine += (await made.ask("GET", "/")).status == 200
            old = made._transport
            transport, _ = await loop.create_datagram_endpoint(lambda: made, local_addr=("::", 0), family=socket.AF_INET6)
            made._transport = transport
            old.abort()
            fine += (await made.ask("POST", "/echo", b"y" * 40000)).status == 200
        return {"fine": fine}


@scenario
async def migrate(port, ca, times):
    """The same with a new connection id, as one that moves on purpose does."""
    fine = 0
    async with client(port, ca) as made:
        loop = asyncio.get_running_loop()
        for _ in range(int(times)):
            fine += (await made.ask("GET", "/")).status == 200
            old = made._transport
            transport, _ = await loop.create_datagram_endpoint(lambda: made, local_addr=("::", 0), family=socket.AF_INET6)
            made._transport = transport
            made.change_connection_id()
            old.abort()
            fine += (await made.ask("GET", "/")).status == 200
        return {"fine": fine}


@scenario
async def connections(port, ca, count):
    """A connection for each request."""
    fine, retried = 0, 0
    for _ in range(int(count)):
        async with client(port, ca) as made:
            fine += (await made.ask("GET", "/")).status == 200
            retried += made._quic._retry_count
    return {"fine": fine, "retried": retried}


@scenario
async def drain(port, ca):
    """Has a request under way while the node is told to stop."""
    async with client(port, ca) as made:
        await made.ask("GET", "/")
        stream = made.head("GET", "/gate")
        print(json.dumps({"asked": True}), flush=True)
        answer = made.answers[stream]
        ended = await answer.wait()
        code = await made.over()
        return {"ended": ended, "status": answer.status, "goaways": made.http.goaways, "code": code}


@scenario
async def idle(port, ca):
    """Says nothing after a request."""
    async with client(port, ca) as made:
        await made.ask("GET", "/")
        code = await made.over()
        return {"goaways": made.http.goaways, "code": code}


@scenario
async def retire(port, ca, count):
    """Asks until it is told to go."""
    async with client(port, ca) as made:
        asked = 0
        while made.http.goaways is None and asked < int(count):
            await made.ask("GET", "/")
            asked += 1
            await asyncio.sleep(0.05)
        code = await made.over()
        return {"asked": asked, "goaways": made.http.goaways, "code": code}


@scenario
async def malformed(port, ca):
    """Requests that break the rules of HTTP/3, and what each ends with; then one that does not."""
    good = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/")]
    post = [(b":method", b"POST")] + good[1:]
    heads = {
        "upper case": good + [(b"X-Upper", b"1")],
        "no method": good[1:],
        "no scheme": good[:1] + good[2:],
        "no path": good[:3],
        "empty path": good[:3] + [(b":path", b"")],
        "no authority": good[:2] + good[3:],
        "two methods": good + [(b":method", b"GET")],
        "late pseudo": good[:3] + [(b"x", b"1")] + good[3:],
        "status": good + [(b":status", b"200")],
        "unknown pseudo": good + [(b":other", b"1")],
        "connection": good + [(b"connection", b"close")],
        "transfer-encoding": good + [(b"transfer-encoding", b"chunked")],
        "upgrade": good + [(b"upgrade", b"websocket")],
        "te": good + [(b"te", b"gzip")],
        "newline": good + [(b"x", b"a\r\nhost: evil")],
        "newline in path": good[:3] + [(b":path", b"/ HTTP/1.1\r\nhost: evil\r\n\r\n")],
        "absolute path": good[:3] + [(b":path", b"http://evil/")],
        "other host": good + [(b"host", b"evil")],
        "plain connect": [(b":method", b"CONNECT"), (b":authority", b"a:1")],
        "protocol without connect": good + [(b":protocol", b"websocket")],
    }
    told = {}
    async with client(port, ca) as made:
        encode = made.http._encoder.encode
        for name, head in heads.items():
            stream = made._quic.get_next_available_stream_id()
            _, block = encode(stream, head)
            told[name] = await outcome(made, made.raw(encode_frame(FrameType.HEADERS, block)))
        bodies = {
            "too short": ([(b"content-length", b"5")], b"abc", []),
            "too long": ([(b"content-length", b"2")], b"abc", []),
            "pseudo in trailers": ([], b"abc", [(b":path", b"/")]),
            "upper case in trailers": ([], b"abc", [(b"X-Upper", b"1")]),
        }
        for name, (more, body, trailer) in bodies.items():
            stream = made._quic.get_next_available_stream_id()
            data = encode_frame(FrameType.HEADERS, encode(stream, post + more)[1])
            data += encode_frame(FrameType.DATA, body)
            if trailer:
                data += encode_frame(FrameType.HEADERS, encode(stream, trailer)[1])
            told[name] = await outcome(made, made.raw(data))
        told["nothing"] = await outcome(made, made.raw(b""))
        told["no head"] = await outcome(made, made.raw(encode_frame(0x21, b"grease")))
        told["after"] = (await made.ask("GET", "/")).status
    return told


async def outcome(made, stream):
    answer = made.answers[stream]
    ended = await answer.wait()
    return answer.status if ended is None else ended


@scenario
async def broken(port, ca):
    """What a connection ends with, each on one of its own."""
    cases = {
        "data first": lambda made: made.raw(encode_frame(FrameType.DATA, b"x"), end=False),
        "settings on a request": lambda made: made.raw(encode_frame(FrameType.SETTINGS, b""), end=False),
        "frame of http/2": lambda made: made.raw(encode_frame(0x8, b"1234"), end=False),
        "unreadable head": lambda made: made.raw(encode_frame(FrameType.HEADERS, b"\xff\xff\xff"), end=False),
        "dynamic table": lambda made: made.raw(encode_frame(FrameType.HEADERS, b"\x02\x00\x80"), end=False),
        "frame cut off": lambda made: made.raw(encode_uint_var(FrameType.HEADERS) + encode_uint_var(100) + b"abc"),
        "second control stream": lambda made: made.uni(b"\x00" + encode_frame(FrameType.SETTINGS, b"")),
        "push stream": lambda made: made.uni(b"\x01\x00"),
        "control stream ends": lambda made: end_control(made),
        "second settings": lambda made: on_control(made, encode_frame(FrameType.SETTINGS, b"")),
        "data on control": lambda made: on_control(made, encode_frame(FrameType.DATA, b"")),
        "encoder inserts": lambda made: on_encoder(made, b"\xc1\x00"),
        "decoder acknowledges": lambda made: on_decoder(made, b"\x80"),
        "many frames on control": lambda made: on_control(made, encode_frame(0x21, b"") * 5000),
        "many frames without data": lambda made: idle_frames(made),
        "many strange streams": lambda made: None,
        "cancelled push": lambda made: on_control(made, encode_frame(FrameType.CANCEL_PUSH, b"\x00")),
    }
    told = {}
    for name, act in cases.items():
        async with client(port, ca) as made:
            await made.ask("GET", "/")
            if name == "many strange streams":
                for _ in range(300):
                    made.uni(b"\x40\x41", end=True)
                    if made.ended.done():
                        break
                    await asyncio.sleep(0.001)
            else:
                act(made)
            told[name] = await made.over()
    return told


def on_control(made, data):
    made._quic.send_stream_data(made.http._local_control_stream_id, data)
    made.transmit()


def end_control(made):
    made._quic.send_stream_data(made.http._local_control_stream_id, b"", end_stream=True)
    made.transmit()


def on_encoder(made, data):
    made._quic.send_stream_data(made.http._local_encoder_stream_id, data)
    made.transmit()


def on_decoder(made, data):
    made._quic.send_stream_data(made.http._local_decoder_stream_id, data)
    made.transmit()


def idle_frames(made):
    stream = made.head("POST", "/echo", end=False)
    made._quic.send_stream_data(stream, encode_frame(0x21, b"") * 1000)
    made.transmit()


@scenario
async def resets(port, ca, most):
    """Opens streams and gives them up at once, again and again, as often as it may, until it is cut off; how many it was
    in the second that had the most."""
    async with client(port, ca) as made:
        await made.ask("GET", "/")
        quic, sent = made._quic, []
        head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/never")]
        while not made.ended.done() and len(sent) < int(most):
            stream = quic.get_next_available_stream_id()
            if stream // 4 < quic._remote_max_streams_bidi:
                made.http.send_headers(stream, head, end_stream=True)
                quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
                sent.append(time.monotonic())
            else:
                made.transmit()
                await asyncio.sleep(0)
        peak = max(bisect.bisect(sent, at + 0.9) - index for index, at in enumerate(sent))
        if made.ended.done():
            return {"code": await made.over(), "peak": peak, "after": None}
        return {"code": None, "peak": peak, "after": (await made.ask("GET", "/")).status}


@scenario
async def large_head(port, ca):
    """Heads of nearly as much as there may be, of more, and one that only says that it is huge."""
    async with client(port, ca) as made:
        field = ("x-large", "a" * 4000)
        fine = (await made.ask("GET", "/", more=[field] * 15)).status
        large = await made.ask("GET", "/", more=[field] * 17)
        stream = made.raw(encode_uint_var(FrameType.HEADERS) + encode_uint_var(1 << 40) + b"x" * 1000, end=False)
        huge = made.answers[stream]
        await asyncio.wait_for(huge.begun.wait(), PATIENCE)
        return {"fine": fine, "large": large.status, "huge": huge.status, "reason": dict(large.headers)["x-plimsoll-reason"]}


@scenario
async def crowd(port, ca, count):
    """So many connections at once; how many are let in."""
    connected = 0
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(int(count)):
            try:
                made = await stack.enter_async_context(client(port, ca))
                await made.ask("GET", "/")
                connected += 1
            except ConnectionError:
                pass
    return {"connected": connected}


@scenario
async def handshake(port, ca, name="localhost", alpn="h3", certificate="", key=""):
    """What a handshake ends with."""
    configured = configuration(ca, name)
    configured.alpn_protocols = [alpn]
    if certificate:
        configured.load_cert_chain(certificate, key)
    async with client(port, ca, configured, wait=False, name=name) as made:
        made.transmit()
        waiting = asyncio.ensure_future(made.wait_connected())
        done, _ = await asyncio.wait([waiting, made.ended], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if waiting in done and waiting.exception() is None:
            stream = made.head("GET", "/")
            ended = await made.answers[stream].wait()
            peer = made._quic.tls._peer_certificate
            return {"ended": ended, "status": made.answers[stream].status, "serial": f"{peer.serial_number:x}"}
        with contextlib.suppress(ConnectionError):
            await waiting
        return {"code": await made.over()}


@scenario
async def early(port, ca):
    """Resumes a connection, and tries to say something before the handshake is over."""
    tickets = []
    configured = configuration(ca)
    async with connect("127.0.0.1", port, configuration=configured, create_protocol=Client, session_ticket_handler=tickets.append) as made:
        made.authority = f"localhost:{port}"
        await made.ask("GET", "/")
        while not tickets:
            await asyncio.sleep(0.01)
    configured = configuration(ca)
    configured.session_ticket = tickets[0]
    async with client(port, ca, configured) as made:
        answer = await made.ask("GET", "/")
        return {
            "resumed": made._quic.tls.session_resumed,
            "early": made._quic.tls.early_data_accepted,
            "offered": tickets[0].max_early_data_size,
            "status": answer.status,
        }


@scenario
async def websocket(port, ca):
    """A WebSocket by extended CONNECT (RFC 9220), whose bytes come back as they are."""
    async with client(port, ca) as made:
        stream = made._quic.get_next_available_stream_id()
        answer = made.answers[stream] = Answer()
        head = [
            (":method", "CONNECT"), (":scheme", "https"), (":authority", made.authority), (":path", "/chat"),
            (":protocol", "websocket"), ("sec-websocket-version", "13"),
        ]
        made.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in head])
        made.transmit()
        await asyncio.wait_for(answer.begun.wait(), PATIENCE)
        if answer.status == 200:
            # A masked text, and once it has come back, the end.
            made.http.send_data(stream, b"\x81\x85\0\0\0\0hello", end_stream=False)
            made.transmit()
            while answer.length < 7 and not answer.done.done():
                answer.moved.clear()
                await asyncio.wait_for(answer.moved.wait(), PATIENCE)
            made.http.send_data(stream, b"\x88\x82\0\0\0\0\x03\xe8", end_stream=True)
            made.transmit()
        ended = await answer.wait()
        return {"status": answer.status, "body": answer.body.decode("latin-1"), "ended": ended}


@scenario
async def silent_handshakes(port, ca, count):
    """First packets alone, each from another port, and then a request: whether it has to prove its address."""
    sockets = []
    for _ in range(int(count)):
        quic = QuicConnection(configuration=configuration(ca))
        quic.connect(("127.0.0.1", port), now=time.time())
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sockets.append(made)
        for data, _ in quic.datagrams_to_send(now=time.time()):
            made.sendto(data, ("127.0.0.1", port))
    async with client(port, ca) as made:
        answer = await made.ask("GET", "/")
        return {"retried": made._quic._retry_count, "status": answer.status}


def main():
    name, port, ca, *more = sys.argv[1:]
    result = asyncio.run(SCENARIOS[name](int(port), ca, *more))
    print(json.dumps(result), flush=True)


main()
