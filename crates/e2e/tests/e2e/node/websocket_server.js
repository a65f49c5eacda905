// A server of WebSockets by the package ws, over HTTP/1.1 or, with Node's own module, over HTTP/2 (RFC 8441). It sends back
// what it gets, but for a few words.
//
// websocket_server.js ADDRESS VERSION
"use strict";
const http = require("node:http");
const http2 = require("node:http2");
const { WebSocket, WebSocketServer } = require("ws");

const [host, port] = process.argv[2].split(":");
let lost = 0;

function serve(socket) {
  socket.on("error", () => {});
  socket.on("close", (code) => (lost += code === 1006 ? 1 : 0));
  socket.on("message", (data, binary) => {
    const word = binary ? "" : String(data.subarray(0, 20));
    if (word === "close, please") return socket.close(4000, "as you wish");
    if (word === "be gone") return socket.terminate();
    if (word === "how many were lost?") return socket.send(String(lost));
    socket.send(data, { binary });
  });
}

if (process.argv[3] === "2") {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on("stream", (stream, head) => {
    stream.on("error", () => {});
    if (head[":method"] !== "CONNECT" || head[":protocol"] !== "websocket") {
      stream.respond({ ":status": 400 }, { endStream: true });
      return;
    }
    stream.respond({ ":status": 200 });
    const socket = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 30_000 });
    socket.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 30 });
    serve(socket);
  });
  server.on("sessionError", () => {});
  server.listen(Number(port), host);
} else {
  const server = http.createServer();
  new WebSocketServer({ server, maxPayload: 1 << 30 }).on("connection", serve);
  server.listen(Number(port), host);
}
