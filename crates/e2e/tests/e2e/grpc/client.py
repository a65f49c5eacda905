"""Makes one call of gRPC and prints what became of it as JSON.

client.py ADDRESS CALL MESSAGE [timeout=SECONDS] [name=value]…

MESSAGE is a number of messages for calls that send a stream. Other names than `timeout` are metadata.
"""

import json
import sys
import threading

import grpc

address, call, message = sys.argv[1:4]
options = dict(option.split("=", 1) for option in sys.argv[4:])
timeout = float(options.pop("timeout", "20"))
cancel_after = options.pop("cancel-after", None)
metadata = tuple(options.items())
channel = grpc.insecure_channel(address)
path = "/e2e.Calls/" + call
told = {"messages": []}


def pieces(count, size=1000):
    for number in range(count):
        yield bytes([number % 256]) * size


def tell(finished):
    told["code"] = finished.code().value[0]
    told["details"] = finished.details()
    for pair in finished.initial_metadata() or ():
        told[pair[0]] = str(pair[1])
    for pair in finished.trailing_metadata() or ():
        told[pair[0]] = str(pair[1])


def receive(answers):
    """Keeps the answers; gives up after as many as `cancel-after` says."""
    for answer in answers:
        told["messages"].append(answer.decode("latin-1")[:20])
        if cancel_after and len(told["messages"]) == int(cancel_after):
            answers.cancel()
    tell(answers)


def bidi():
    """Each message is sent once the one before has come back, and the first once the call has begun."""
    begun = threading.Event()
    back = threading.Semaphore(0)

    def ask():
        begun.wait(10)
        for piece in pieces(int(message)):
            yield piece
            back.acquire(timeout=10)

    answers = channel.stream_stream(path)(ask(), timeout=timeout, metadata=metadata)
    answers.initial_metadata()
    begun.set()
    for answer in answers:
        told["messages"].append(answer[0])
        back.release()
    tell(answers)


try:
    if call == "Bidi":
        bidi()
    elif call == "ClientStream":
        answer, finished = channel.stream_unary(path).with_call(pieces(int(message)), timeout=timeout)
        told["messages"].append(answer.decode())
        tell(finished)
    elif call in ("ServerStream", "Hang", "FailLate"):
        receive(channel.unary_stream(path)(message.encode(), timeout=timeout, metadata=metadata))
    else:
        size = metadata and dict(metadata).get("size")
        content = b"x" * int(size) if size else message.encode()
        answer, finished = channel.unary_unary(path).with_call(content, timeout=timeout, metadata=metadata)
        told["messages"].append(answer.decode()[:20])
        told["size"] = len(answer)
        tell(finished)
except grpc.RpcError as error:
    tell(error)
print(json.dumps(told))
