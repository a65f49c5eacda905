// A client of WebSockets by the package ws, over HTTP/1.1 or, with Node's own module, over HTTP/2 (RFC 8441).
//
// websocket_client.js ADDRESS VERSION: exits with 0 and prints the name of each case that passes.
"use strict";
const assert = require("node:assert/strict");
const http2 = require("node:http2");
const { once } = require("node:events");
const { setTimeout: pause } = require("node:timers/promises");
const { WebSocket } = require("ws");

const [address, version] = process.argv.slice(2);
let session;

async function open() {
  if (version !== "2") {
    const socket = new WebSocket(`ws://${address}/chat`, { perMessageDeflate: true, maxPayload: 1 << 30 });
    socket.on("error", () => {});
    await once(socket, "open");
    return socket;
  }
  if (!session) {
    session = http2.connect(`http://${address}`);
    const [settings] = await once(session, "remoteSettings");
    assert.equal(settings.enableConnectProtocol, true);
  }
  const stream = session.request({
    ":method": "CONNECT", ":protocol": "websocket", ":path": "/chat", "sec-websocket-version": "13",
  });
  stream.on("error", () => {});
  const [head] = await once(stream, "response");
  assert.equal(head[":status"], 200);
  // What ws does behind an upgrade: its client masks what it sends.
  const socket = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 30_000 });
  socket._isServer = false;
  socket.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 30 });
  socket.on("error", () => {});
  return socket;
}

/** The next message, or how it ended. */
function next(socket) {
  return new Promise((done) => {
    socket.removeAllListeners("message").once("message", (data, binary) => done({ data, binary }));
    socket.removeAllListeners("close").once("close", (code, reason) => done({ code, reason: String(reason) }));
  });
}

const cases = {
  async messages() {
    const socket = await open();
    for (const size of [0, 5, 125, 126, 65535, 65536, 3_000_000]) {
      for (const binary of [true, false]) {
        const whole = Buffer.alloc(size, "abc");
        socket.send(whole, { binary });
        const came = await next(socket);
        assert(came.data.equals(whole), `of ${size}`);
        assert.equal(came.binary, binary);
      }
    }
    socket.close();
  },
  async many_at_once() {
    const sockets = await Promise.all(Array.from({ length: 50 }, open));
    await Promise.all(
      sockets.map(async (socket, number) => {
        for (let round = 0; round < 20; round += 1) {
          socket.send(`${number}/${round}`);
          assert.equal(String((await next(socket)).data), `${number}/${round}`);
        }
        socket.close();
      }),
    );
  },
  async fragments_and_pings() {
    const socket = await open();
    socket.send("one ", { fin: false });
    socket.ping("between");
    const pong = once(socket, "pong");
    socket.send("two", { fin: true });
    assert.equal(String((await next(socket)).data), "one two");
    assert.equal(String((await pong)[0]), "between");
    socket.close();
  },
  async closing() {
    const socket = await open();
    socket.close(4001, "that was all");
    assert.deepEqual(await next(socket), { code: 4001, reason: "that was all" });
    const other = await open();
    other.send("close, please");
    assert.deepEqual(await next(other), { code: 4000, reason: "as you wish" });
  },
  async breaking() {
    const socket = await open();
    socket.send("be gone");
    assert.equal((await next(socket)).code, 1006);
    // And the other way round.
    const asking = await open();
    asking.send("how many were lost?");
    const before = Number((await next(asking)).data);
    const other = await open();
    other.terminate();
    const until = Date.now() + 15_000;
    for (let lost = before; lost <= before; await pause(20)) {
      assert(Date.now() < until, "the server never heard of it");
      asking.send("how many were lost?");
      lost = Number((await next(asking)).data);
    }
  },
};

(async () => {
  for (const name of Object.keys(cases)) {
    await cases[name]();
    console.log(name);
  }
  process.exit(0);
})().catch((error) => {
  console.log(error);
  process.exit(1);
});
