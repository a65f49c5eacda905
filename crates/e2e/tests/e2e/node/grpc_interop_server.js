// The server of gRPC's interoperability cases (their public description is grpc/doc/interop-test-descriptions.md), by
// @grpc/grpc-js. A message is a line of JSON and a payload behind it.
//
// grpc_interop_server.js ADDRESS
"use strict";
const grpc = require("@grpc/grpc-js");

let cancelled = 0;

function parse(message) {
  const line = message.indexOf("\n");
  if (line < 0) return [{}, message];
  return [JSON.parse(message.subarray(0, line)), message.subarray(line + 1)];
}

/** What comes as initial metadata under these names goes back as initial and as trailing metadata. */
function echoMetadata(call) {
  const initial = call.metadata.get("x-grpc-test-echo-initial");
  if (initial.length) {
    const sent = new grpc.Metadata();
    sent.set("x-grpc-test-echo-initial", initial[0]);
    call.sendMetadata(sent);
  }
  const trailing = new grpc.Metadata();
  const value = call.metadata.get("x-grpc-test-echo-trailing-bin");
  if (value.length) trailing.set("x-grpc-test-echo-trailing-bin", value[0]);
  return trailing;
}

const calls = {
  EmptyCall: (_, answer) => answer(null, Buffer.alloc(0)),
  UnaryCall: (call, answer) => {
    const trailing = echoMetadata(call);
    const [asked] = parse(call.request);
    if (asked.status) return answer({ code: asked.status.code, details: asked.status.message });
    answer(null, Buffer.alloc(asked.size || 0), trailing);
  },
  StreamingOutputCall: (call) => {
    for (const size of parse(call.request)[0].sizes) call.write(Buffer.alloc(size));
    call.end();
  },
  StreamingInputCall: (call, answer) => {
    let size = 0;
    call.on("data", (message) => (size += parse(message)[1].length));
    call.on("end", () => answer(null, Buffer.from(String(size))));
  },
  FullDuplexCall: (call) => {
    const trailing = echoMetadata(call);
    let [sleeps, failed] = [false, false];
    call.on("cancelled", () => (cancelled += 1));
    call.on("error", () => {});
    call.on("data", (message) => {
      const [asked] = parse(message);
      if (asked.status) {
        failed = true;
        return call.emit("error", { code: asked.status.code, details: asked.status.message });
      }
      for (const size of asked.sizes || []) call.write(Buffer.alloc(size));
      sleeps ||= asked.sleeps;
    });
    call.on("end", () => {
      if (!sleeps && !failed) call.end(trailing);
    });
  },
  Cancelled: (_, answer) => answer(null, Buffer.from(String(cancelled))),
};

const service = {};
for (const name of Object.keys(calls)) {
  const same = (bytes) => bytes;
  service[name] = {
    path: `/grpc.testing.TestService/${name}`,
    requestStream: /Input|Duplex/.test(name),
    responseStream: /Output|Duplex/.test(name),
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}
const server = new grpc.Server();
server.addService(service, calls);
server.bindAsync(process.argv[2], grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
