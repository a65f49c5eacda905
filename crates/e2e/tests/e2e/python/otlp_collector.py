"""A collector of traces by OTLP over HTTP, which reads them with the official Protocol Buffers of OpenTelemetry.

usage: otlp_collector.py PORT

POST /v1/traces takes spans; GET /spans tells, as JSON, those that came so far.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

LOCK = threading.Lock()
SPANS = []


def attributes(pairs):
    told = {}
    for pair in pairs:
        assert pair.key not in told, f"{pair.key} is told twice"
        told[pair.key] = getattr(pair.value, pair.value.WhichOneof("value"))
    return told


def read(body):
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    # What is written by a newer or wrong encoder would be lost here, and is found when it is written again.
    assert request.ByteSize() == len(body), "there are fields that the protocol does not know"
    for of_resource in request.resource_spans:
        resource = attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                assert len(span.trace_id) == 16 and len(span.span_id) == 8
                yield {
                    "resource": resource,
                    "scope": of_scope.scope.name,
                    "name": span.name,
                    "kind": Span.SpanKind.Name(span.kind),
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "state": span.trace_state,
                    "flags": span.flags,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "attributes": attributes(span.attributes),
                    "status": Status.StatusCode.Name(span.status.code),
                    "message": span.status.message,
                    "links": [link.trace_id.hex() + "-" + link.span_id.hex() for link in span.links],
                }


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/v1/traces" or self.headers["content-type"] != "application/x-protobuf":
            return self.answer(400, "text/plain", f"{self.path} {self.headers}".encode())
        try:
            spans = list(read(body))
        except Exception as error:
            print(error, file=sys.stderr, flush=True)
            return self.answer(400, "text/plain", str(error).encode())
        with LOCK:
            SPANS.extend(spans)
        self.answer(200, "application/x-protobuf", ExportTraceServiceResponse().SerializeToString())

    def do_GET(self):
        with LOCK:
            body = json.dumps(SPANS).encode()
        self.answer(200, "application/json", body)

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Collector).serve_forever()
