"""A server of gRPC with calls of every kind, whose messages are bytes as they are.

server.py PORT [NAME]
"""

import sys
import threading
import time
from concurrent import futures

import grpc

counts = {}
cancelled = threading.Semaphore(0)
lock = threading.Lock()


def metadata(context):
    return dict(context.invocation_metadata())


def refuse(context):
    """Ends the call without a message as often as `fail-times` says, counted by `fail-key`, with the status `fail`."""
    said = metadata(context)
    if "fail" not in said:
        return
    with lock:
        key = said.get("fail-key", "")
        counts[key] = counts.get(key, 0) + 1
        seen = counts[key]
    if seen <= int(said.get("fail-times", "1000000")):
        code = next(code for code in grpc.StatusCode if code.value[0] == int(said["fail"]))
        context.abort(code, "refused: 100 % by é")


def unary(request, context):
    refuse(context)
    context.set_trailing_metadata((("x-name", NAME), ("x-trailing-bin", b"\x00\xff")))
    return request


def slow(request, context):
    time.sleep(float(request))
    return request


def server_stream(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def client_stream(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def bidi(requests, context):
    context.send_initial_metadata((("x-begun", "yes"),))
    for request in requests:
        yield request


def hang(request, context):
    """Says one thing and then nothing, until the call is cancelled."""
    ended = threading.Event()

    def end():
        ended.set()
        cancelled.release()

    # A generator that has yielded is not gone on with once the call is cancelled: it may not be told.
    if not context.add_callback(end):
        end()
    yield b"one"
    ended.wait(60)


def fail_late(request, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "after a message")


def cancellations(request, context):
    """Waits until so many calls were cancelled."""
    for _ in range(int(request)):
        if not cancelled.acquire(timeout=10):
            return b"not cancelled"
    return b"cancelled"


def seen(request, context):
    """How often calls with this `fail-key` have come."""
    return b"%d" % counts.get(request.decode(), 0)


NAME = sys.argv[2] if len(sys.argv) > 2 else "one"
HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "Seen": grpc.unary_unary_rpc_method_handler(seen),
    "Cancellations": grpc.unary_unary_rpc_method_handler(cancellations),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "Hang": grpc.unary_stream_rpc_method_handler(hang),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
}

server = grpc.server(futures.ThreadPoolExecutor(max_workers=50), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("e2e.Calls", HANDLERS),))
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
server.wait_for_termination()
