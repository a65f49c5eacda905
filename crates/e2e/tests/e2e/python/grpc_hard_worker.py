"""A client of gRPC that works hard, and does nothing that it may not: on one connection it makes many calls whose deadlines
all pass, and then takes long answers while it asks again and again how much fits on the way (BDP probes).

grpc_hard_worker.py ADDRESS: prints how many calls ended with which status, as JSON, and how many bytes came. Whom it talks
to behind the proxy is `python/grpc_interop_server.py`.
"""

import collections
import json
import sys
import threading
import time

import grpc

CALLS = 5000
A_SECOND = 1000
DEADLINE = 0.05

# One channel, and one connection for it; as many calls at once as the proxy allows.
channel = grpc.insecure_channel(
    sys.argv[1], options=[("grpc.http2.bdp_probe", 1), ("grpc.http2.max_pings_without_data", 0)]
)
grpc.channel_ready_future(channel).result(timeout=15)
sleep = channel.unary_stream("/grpc.testing.TestService/Silence")
codes = collections.Counter()
left = threading.Semaphore(0)


def ended(call):
    codes[call.code().name] += 1
    left.release()


begun = time.monotonic()
for number in range(CALLS):
    call = sleep(b"", timeout=DEADLINE)
    call.add_callback(lambda call=call: ended(call))
    ahead = begun + number / A_SECOND - time.monotonic()
    if ahead > 0:
        time.sleep(ahead)
for _ in range(CALLS):
    left.acquire(timeout=15)

size = 0
request = json.dumps({"sizes": [1 << 20] * 200}).encode() + b"\n"
for answer in channel.unary_stream("/grpc.testing.TestService/StreamingOutputCall")(request, timeout=60):
    size += len(answer)
print(json.dumps({"codes": codes, "size": size}))
