// A client of HTTP/1.1 or HTTP/2, by Node's own modules, which goes through what a proxy may stumble over.
//
// client.js ADDRESS VERSION CASE: exits with 0 and prints the case's name when all is as it should be.
"use strict";
const assert = require("node:assert/strict");
const http = require("node:http");
const http2 = require("node:http2");
const { once } = require("node:events");
const { setTimeout: pause } = require("node:timers/promises");

const [address, version, name] = process.argv.slice(2);
const [host, port] = address.split(":");
const MANY = 128 << 20;
// What lies in buffers of ours, theirs and the kernel's on the way, of MANY.
const FEW = 32 << 20;

/** A request: `{ out, answered }`, where the answer is `{ status, body }`, and `body.trailers` are there at its end. */
const open = version === "2" ? openHttp2 : openHttp1;

let session;
function openHttp2(method, path, trailers) {
  session ||= http2.connect(`http://${address}`);
  const out = session.request(
    { ":method": method, ":path": path, te: "trailers" },
    { endStream: method === "GET", waitForTrailers: Boolean(trailers) },
  );
  if (trailers) out.on("wantTrailers", () => out.sendTrailers(trailers));
  out.on("trailers", (fields) => (out.trailers = fields));
  out.on("error", () => {});
  const early = [];
  out.on("headers", (fields) => early.push(fields[":status"]));
  const answered = once(out, "response").then(([head]) => ({ status: head[":status"], body: out, early }));
  answered.catch(() => {});
  return { out, answered, sent: () => out.session.socket.bytesWritten };
}

const agent = new http.Agent({ keepAlive: true });
function openHttp1(method, path, trailers) {
  const headers = { te: "trailers", connection: "te, keep-alive" };
  if (trailers) headers.trailer = Object.keys(trailers).join(", ");
  const out = http.request({ host, port, method, path, headers, agent });
  if (trailers) out.addTrailers(trailers);
  out.on("error", () => {});
  const early = [];
  out.on("information", (info) => early.push(info.statusCode));
  const answered = once(out, "response").then(([body]) => {
    body.on("error", () => {});
    return { status: body.statusCode, body, early };
  });
  answered.catch(() => {});
  if (method === "GET") out.end();
  return { out, answered, sent: () => (out.socket ? out.socket.bytesWritten : 0) };
}

/** A body that shows when any part of it is missing or moved. */
function content(size) {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at += 1) bytes[at] = (at / 251 + (at % 251)) & 255;
  return bytes;
}

async function gather(body) {
  const pieces = [];
  for await (const piece of body) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function seen() {
  const { answered } = open("GET", "/seen");
  return JSON.parse(await gather((await answered).body));
}

async function eventually(what, look) {
  const until = Date.now() + 15_000;
  while (!(await look())) {
    assert(Date.now() < until, `not in time: ${what}`);
    await pause(20);
  }
}

/** Waits until a number does not change for a second, which it must not reach MANY before; that number. */
async function comesToRest(look) {
  let [last, since] = [-1, Date.now()];
  while (Date.now() - since < 1000) {
    const now = await look();
    if (now !== last) [last, since] = [now, Date.now()];
    assert(now < MANY, "nothing stopped it");
    await pause(50);
  }
  return last;
}

const cases = {
  async bodies() {
    for (const size of [0, 1, 65535, 65536, 3_000_000]) {
      const whole = content(size);
      const { out, answered } = open("POST", "/echo");
      // In pieces of an odd size, each its own write.
      for (let at = 0; at < size; at += 9973) out.write(whole.subarray(at, at + 9973));
      out.end();
      const { status, body } = await answered;
      assert.equal(status, 200);
      assert((await gather(body)).equals(whole), `of ${size}`);
    }
  },

  async trailers() {
    const { out, answered } = open("POST", "/echo", { "x-up": "went up" });
    out.write("hello");
    out.end();
    const { body } = await answered;
    assert.equal(String(await gather(body)), "hello");
    assert.equal(body.trailers["x-sum"], "5");
    assert.equal(body.trailers["x-got"], "went up");
  },

  async interim() {
    const { answered } = open("GET", "/interim");
    const { body, early } = await answered;
    assert.equal(String(await gather(body)), "whole");
    assert.deepEqual(early, [103]);
  },

  async cancellation() {
    // Before the answer's head.
    const first = open("GET", "/hang");
    await eventually("it is there", async () => (await seen()).waiting === 1);
    first.out.destroy();
    await eventually("it is cancelled", async () => (await seen()).cancelled === 1);
    // In its body.
    const second = open("GET", "/drip");
    const { body } = await second.answered;
    await once(body, "data");
    second.out.destroy();
    await eventually("it is cancelled too", async () => (await seen()).cancelled === 2);
  },

  async breaking() {
    const { answered } = open("GET", "/break");
    const { body } = await answered;
    let failed = false;
    body.on("error", () => (failed = true)).on("aborted", () => (failed = true));
    let got = "";
    body.on("data", (piece) => (got += piece));
    await once(body, "close").catch(() => {});
    assert.equal(got, "half");
    assert(failed || body.rstCode, "it passed for whole");
  },

  async pressure_down() {
    const { answered } = open("GET", "/flood");
    const { body } = await answered;
    const sent = await comesToRest(async () => (await seen()).sent);
    assert(sent < FEW, `${sent} bytes lie somewhere`);
    let size = 0;
    for await (const piece of body) size += piece.length;
    assert.equal(size, MANY);
  },

  async pressure_up() {
    const { out, answered, sent } = open("POST", "/lazy");
    const piece = Buffer.alloc(64 << 10, "x");
    let left = MANY;
    const more = () => {
      while (left > 0) {
        left -= piece.length;
        if (!out.write(piece)) return out.once("drain", more);
      }
      out.end();
    };
    more();
    const went = await comesToRest(async () => sent());
    assert(went < FEW, `${went} bytes lie somewhere`);
    await gather((await open("GET", "/take").answered).body);
    assert.equal(String(await gather((await answered).body)), String(MANY));
  },

  /** A body of many small pieces that nobody takes for a while. */
  async small_pieces() {
    const { out, answered } = open("POST", "/lazy");
    const [piece, count] = [Buffer.alloc(25, "x"), 20_000];
    for (let at = 0; at < count; at += 1) {
      out.write(piece);
      // Each by itself, and not all at once.
      if (at % 100 === 0) await pause(1);
    }
    out.end();
    await pause(500);
    await gather((await open("GET", "/take").answered).body);
    assert.equal(String(await gather((await answered).body)), String(count * piece.length));
  },

  async early_answer() {
    const { out, answered } = open("POST", "/early");
    let goesOn = true;
    out.on("close", () => (goesOn = false));
    const piece = Buffer.alloc(16 << 10, "x");
    const more = () => {
      while (goesOn && out.writable) if (!out.write(piece)) return out.once("drain", more);
    };
    more();
    const { status, body } = await answered;
    assert.equal(status, 413);
    assert.equal(String(await gather(body)), "enough");
    goesOn = false;
    out.destroy();
    // And whoever asks next is served.
    assert((await seen()).waiting === 0);
  },
};

cases[name]().then(
  () => {
    console.log(name);
    process.exit(0);
  },
  (error) => {
    console.log(error);
    process.exit(1);
  },
);
