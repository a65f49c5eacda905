// gRPC's interoperability cases (their public description is grpc/doc/interop-test-descriptions.md), by @grpc/grpc-js.
//
// grpc_interop_client.js ADDRESS: prints the name of each case that passes.
"use strict";
const assert = require("node:assert/strict");
const { once } = require("node:events");
const { setTimeout: pause } = require("node:timers/promises");
const grpc = require("@grpc/grpc-js");

const client = new grpc.Client(process.argv[2], grpc.credentials.createInsecure());
const SERVICE = "/grpc.testing.TestService/";
const UP = [27182, 8, 1828, 45904];
const DOWN = [31415, 9, 2653, 58979];
const SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \u{1f608}\t\n";
const same = (bytes) => bytes;

function message(payload, asked) {
  return Buffer.concat([Buffer.from(JSON.stringify(asked || {}) + "\n"), Buffer.alloc(payload)]);
}

function metadata() {
  const sent = new grpc.Metadata();
  sent.set("x-grpc-test-echo-initial", "test_initial_metadata_value");
  sent.set("x-grpc-test-echo-trailing-bin", Buffer.from([0xab, 0xab, 0xab]));
  return sent;
}

function assertEchoed(initial, trailing) {
  assert.deepEqual(initial.get("x-grpc-test-echo-initial"), ["test_initial_metadata_value"]);
  assert.deepEqual(trailing.get("x-grpc-test-echo-trailing-bin"), [Buffer.from([0xab, 0xab, 0xab])]);
}

const deadline = (seconds) => ({ deadline: Date.now() + seconds * 1000 });

/** What became of a unary call: `{ error, answer, initial, trailing }`. */
async function unary(path, request, sent = new grpc.Metadata()) {
  const told = {};
  await new Promise((done) => {
    const call = client.makeUnaryRequest(path, same, same, request, sent, deadline(20), (error, answer) => {
      Object.assign(told, { error, answer });
      if (told.trailing) done();
    });
    call.on("metadata", (initial) => (told.initial = initial));
    call.on("status", (status) => {
      told.trailing = status.metadata;
      if ("error" in told) done();
    });
  });
  return told;
}

function duplex(sent = new grpc.Metadata(), options = deadline(20)) {
  const call = client.makeBidiStreamRequest(SERVICE + "FullDuplexCall", same, same, sent, options);
  const told = { sizes: [] };
  call.on("error", () => {});
  call.on("metadata", (initial) => (told.initial = initial));
  call.on("data", (answer) => told.sizes.push(answer.length));
  const ended = new Promise((done) => call.on("status", done));
  return { call, told, ended };
}

const cases = {
  async empty_unary() {
    assert.equal((await unary(SERVICE + "EmptyCall", Buffer.alloc(0))).answer.length, 0);
  },
  async large_unary() {
    const { answer } = await unary(SERVICE + "UnaryCall", message(271828, { size: 314159 }));
    assert.equal(answer.length, 314159);
  },
  async client_streaming() {
    const answer = await new Promise((done, fail) => {
      const call = client.makeClientStreamRequest(SERVICE + "StreamingInputCall", same, same, deadline(20), (error, got) =>
        error ? fail(error) : done(got),
      );
      for (const size of UP) call.write(message(size));
      call.end();
    });
    assert.equal(String(answer), "74922");
  },
  async server_streaming() {
    const call = client.makeServerStreamRequest(
      SERVICE + "StreamingOutputCall", same, same, message(0, { sizes: DOWN }), deadline(20));
    const sizes = [];
    for await (const answer of call) sizes.push(answer.length);
    assert.deepEqual(sizes, DOWN);
  },
  async ping_pong() {
    const { call, told, ended } = duplex();
    for (let at = 0; at < UP.length; at += 1) {
      call.write(message(UP[at], { sizes: [DOWN[at]] }));
      await once(call, "data");
    }
    call.end();
    assert.equal((await ended).code, 0);
    assert.deepEqual(told.sizes, DOWN);
  },
  async empty_stream() {
    const { call, told, ended } = duplex();
    call.end();
    assert.equal((await ended).code, 0);
    assert.deepEqual(told.sizes, []);
  },
  async custom_metadata() {
    const single = await unary(SERVICE + "UnaryCall", message(271828, { size: 314159 }), metadata());
    assertEchoed(single.initial, single.trailing);
    const { call, told, ended } = duplex(metadata());
    call.write(message(271828, { sizes: [314159] }));
    call.end();
    const status = await ended;
    assert.deepEqual(told.sizes, [314159]);
    assertEchoed(told.initial, status.metadata);
  },
  async status_code_and_message() {
    const asked = { status: { code: 2, message: "test status message" } };
    const { error } = await unary(SERVICE + "UnaryCall", message(0, asked));
    assert.deepEqual([error.code, error.details], [2, "test status message"]);
    const { call, ended } = duplex();
    call.write(message(0, asked));
    call.end();
    const status = await ended;
    assert.deepEqual([status.code, status.details], [2, "test status message"]);
  },
  async special_status_message() {
    const asked = { status: { code: 2, message: SPECIAL } };
    const { error } = await unary(SERVICE + "UnaryCall", message(0, asked));
    assert.deepEqual([error.code, error.details], [2, SPECIAL]);
  },
  async unimplemented_method() {
    assert.equal((await unary(SERVICE + "UnimplementedCall", Buffer.alloc(0))).error.code, 12);
  },
  async unimplemented_service() {
    const path = "/grpc.testing.UnimplementedService/UnimplementedCall";
    assert.equal((await unary(path, Buffer.alloc(0))).error.code, 12);
  },
  async cancel_after_begin() {
    const code = await new Promise((done) => {
      const call = client.makeClientStreamRequest(SERVICE + "StreamingInputCall", same, same, deadline(20), (error) =>
        done(error && error.code),
      );
      call.cancel();
    });
    assert.equal(code, 1);
  },
  async cancel_after_first_response() {
    const { call, ended } = duplex();
    call.write(message(27182, { sizes: [31415], sleeps: true }));
    await once(call, "data");
    call.cancel();
    assert.equal((await ended).code, 1);
    const until = Date.now() + 15_000;
    while (String((await unary(SERVICE + "Cancelled", Buffer.alloc(0))).answer) === "0") {
      assert(Date.now() < until, "the server never heard of it");
      await pause(20);
    }
  },
  async timeout_on_sleeping_server() {
    const { call, ended } = duplex(new grpc.Metadata(), deadline(0.001));
    call.write(message(27182, { sizes: [], sleeps: true }));
    assert.equal((await ended).code, 4);
  },
};

(async () => {
  for (const name of Object.keys(cases)) {
    await cases[name]();
    console.log(name);
  }
  client.close();
})().catch((error) => {
  console.log(error);
  process.exit(1);
});
