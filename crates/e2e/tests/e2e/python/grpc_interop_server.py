"""The server of gRPC's interoperability cases (their public description is grpc/doc/interop-test-descriptions.md), by
grpcio. A message is a line of JSON and a payload behind it.

grpc_interop_server.py ADDRESS
"""

import json
import sys
import threading
from concurrent import futures

import grpc

cancelled = []


def parse(message):
    line, _, payload = message.partition(b"\n")
    return json.loads(line or b"{}"), payload


def echo_metadata(context):
    """What comes as initial metadata under these names goes back as initial and as trailing metadata."""
    said = dict(context.invocation_metadata())
    if "x-grpc-test-echo-initial" in said:
        context.send_initial_metadata((("x-grpc-test-echo-initial", said["x-grpc-test-echo-initial"]),))
    if "x-grpc-test-echo-trailing-bin" in said:
        context.set_trailing_metadata((("x-grpc-test-echo-trailing-bin", said["x-grpc-test-echo-trailing-bin"]),))


def fail(asked, context):
    if "status" in asked:
        code = next(code for code in grpc.StatusCode if code.value[0] == asked["status"]["code"])
        context.abort(code, asked["status"]["message"])


def unary_call(request, context):
    echo_metadata(context)
    asked, _ = parse(request)
    fail(asked, context)
    return bytes(asked.get("size", 0))


def streaming_output_call(request, context):
    for size in parse(request)[0]["sizes"]:
        yield bytes(size)


def streaming_input_call(requests, context):
    return str(sum(len(parse(request)[1]) for request in requests)).encode()


def silence(request, context):
    """Says nothing until the call is given up."""
    ended = threading.Event()
    if context.add_callback(ended.set):
        ended.wait(30)
    yield from ()


def full_duplex_call(requests, context):
    """A call that ends before its end was cancelled; a generator may not even be told."""
    echo_metadata(context)
    ended, whole = threading.Event(), []

    def end():
        ended.set()
        if not whole:
            cancelled.append(1)

    context.add_callback(end)
    for request in requests:
        asked, _ = parse(request)
        if "status" in asked:
            whole.append(True)
            fail(asked, context)
        for size in asked.get("sizes", ()):
            yield bytes(size)
        if asked.get("sleeps"):
            ended.wait(30)
    whole.append(True)


HANDLERS = {
    "EmptyCall": grpc.unary_unary_rpc_method_handler(lambda request, context: b""),
    "UnaryCall": grpc.unary_unary_rpc_method_handler(unary_call),
    "StreamingOutputCall": grpc.unary_stream_rpc_method_handler(streaming_output_call),
    "StreamingInputCall": grpc.stream_unary_rpc_method_handler(streaming_input_call),
    "FullDuplexCall": grpc.stream_stream_rpc_method_handler(full_duplex_call),
    "Silence": grpc.unary_stream_rpc_method_handler(silence),
    "Cancelled": grpc.unary_unary_rpc_method_handler(lambda request, context: str(len(cancelled)).encode()),
}

server = grpc.server(futures.ThreadPoolExecutor(max_workers=200), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.testing.TestService", HANDLERS),))
server.add_insecure_port(sys.argv[1])
server.start()
server.wait_for_termination()
