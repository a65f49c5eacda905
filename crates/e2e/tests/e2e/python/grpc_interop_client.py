"""gRPC's interoperability cases (their public description is grpc/doc/interop-test-descriptions.md), by grpcio.

grpc_interop_client.py ADDRESS: prints the name of each case that passes.
"""

import json
import queue
import sys
import time

import grpc

channel = grpc.insecure_channel(sys.argv[1])
SERVICE = "/grpc.testing.TestService/"
UP = (27182, 8, 1828, 45904)
DOWN = (31415, 9, 2653, 58979)
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
METADATA = (
    ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
    ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"),
)


def message(payload=0, **asked):
    return json.dumps(asked).encode() + b"\n" + bytes(payload)


def unary(name, request, **options):
    return channel.unary_unary(SERVICE + name).with_call(request, timeout=20, **options)


class Duplex:
    """A call whose messages are sent one by one."""

    def __init__(self, timeout=20, **options):
        self.requests = queue.Queue()
        self.answers = channel.stream_stream(SERVICE + "FullDuplexCall")(
            iter(self.requests.get, None), timeout=timeout, **options
        )

    def send(self, request):
        self.requests.put(request)

    def end(self):
        self.requests.put(None)


def refused(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code().value[0], error.details()
    raise AssertionError("it passed")


def empty_unary():
    assert unary("EmptyCall", b"")[0] == b""


def large_unary():
    assert len(unary("UnaryCall", message(271828, size=314159))[0]) == 314159


def client_streaming():
    requests = iter([message(size) for size in UP])
    assert channel.stream_unary(SERVICE + "StreamingInputCall")(requests, timeout=20) == b"74922"


def server_streaming():
    answers = channel.unary_stream(SERVICE + "StreamingOutputCall")(message(sizes=DOWN), timeout=20)
    assert [len(answer) for answer in answers] == list(DOWN)


def ping_pong():
    call = Duplex()
    for up, down in zip(UP, DOWN):
        call.send(message(up, sizes=[down]))
        assert len(next(call.answers)) == down
    call.end()
    assert list(call.answers) == []
    assert call.answers.code() == grpc.StatusCode.OK


def empty_stream():
    call = Duplex()
    call.end()
    assert list(call.answers) == []
    assert call.answers.code() == grpc.StatusCode.OK


def custom_metadata():
    _, call = unary("UnaryCall", message(271828, size=314159), metadata=METADATA)
    assert METADATA[0] in call.initial_metadata() and METADATA[1] in call.trailing_metadata()
    duplex = Duplex(metadata=METADATA)
    duplex.send(message(271828, sizes=[314159]))
    duplex.end()
    assert [len(answer) for answer in duplex.answers] == [314159]
    assert METADATA[0] in duplex.answers.initial_metadata()
    assert METADATA[1] in duplex.answers.trailing_metadata()


def status_code_and_message():
    status = {"code": 2, "message": "test status message"}
    assert refused(lambda: unary("UnaryCall", message(status=status))) == (2, "test status message")
    call = Duplex()
    call.send(message(status=status))
    call.end()
    assert refused(lambda: list(call.answers)) == (2, "test status message")


def special_status_message():
    status = {"code": 2, "message": SPECIAL}
    assert refused(lambda: unary("UnaryCall", message(status=status))) == (2, SPECIAL)


def unimplemented_method():
    assert refused(lambda: unary("UnimplementedCall", b""))[0] == 12


def unimplemented_service():
    call = channel.unary_unary("/grpc.testing.UnimplementedService/UnimplementedCall")
    assert refused(lambda: call(b"", timeout=20))[0] == 12


def cancel_after_begin():
    requests = queue.Queue()
    call = channel.stream_unary(SERVICE + "StreamingInputCall").future(iter(requests.get, None), timeout=20)
    call.cancel()
    requests.put(None)
    assert call.code() == grpc.StatusCode.CANCELLED


def cancel_after_first_response():
    call = Duplex()
    call.send(message(27182, sizes=[31415], sleeps=True))
    assert len(next(call.answers)) == 31415
    call.answers.cancel()
    assert refused(lambda: list(call.answers))[0] == 1
    until = time.monotonic() + 15
    while unary("Cancelled", b"")[0] == b"0":
        assert time.monotonic() < until, "the server never heard of it"
        time.sleep(0.02)


def timeout_on_sleeping_server():
    call = Duplex(timeout=0.001)
    call.send(message(27182, sizes=[], sleeps=True))
    assert refused(lambda: list(call.answers))[0] == 4


for case in (
    empty_unary,
    large_unary,
    client_streaming,
    server_streaming,
    ping_pong,
    empty_stream,
    custom_metadata,
    status_code_and_message,
    special_status_message,
    unimplemented_method,
    unimplemented_service,
    cancel_after_begin,
    cancel_after_first_response,
    timeout_on_sleeping_server,
):
    case()
    print(case.__name__)
