// A server of HTTP/1.1 or HTTP/2, by Node's own modules, whose paths do what a proxy may stumble over.
//
// server.js ADDRESS VERSION
"use strict";
const [host, port] = process.argv[2].split(":");
const create = process.argv[3] === "2" ? require("node:http2").createServer : require("node:http").createServer;

const seen = { waiting: 0, cancelled: 0, sent: 0, received: 0 };
const lazy = [];

/** What came, with its trailers, comes back; how much it was is told behind it. */
function echo(request, response) {
  let size = 0;
  response.writeHead(200, { trailer: "x-sum, x-got" });
  request.on("data", (piece) => {
    size += piece.length;
    if (!response.write(piece)) {
      request.pause();
      response.once("drain", () => request.resume());
    }
  });
  request.on("end", () => {
    response.addTrailers({ "x-sum": String(size), "x-got": request.trailers["x-up"] || "nothing" });
    response.end();
  });
}

/** Counts those who go away. */
function wait(response) {
  seen.waiting += 1;
  response.on("close", () => {
    if (!response.writableEnded) seen.cancelled += 1;
  });
}

/** Says much, as fast as it is taken. */
function flood(response, size) {
  const piece = Buffer.alloc(64 << 10, "x");
  let left = size;
  const more = () => {
    while (left > 0) {
      left -= piece.length;
      seen.sent += piece.length;
      if (!response.write(piece)) return response.once("drain", more);
    }
    response.end();
  };
  more();
}

const paths = {
  "/echo": echo,
  "/drip": (_, response) => {
    wait(response);
    response.write("one");
  },
  "/hang": (_, response) => wait(response),
  // Half of an answer, which must not pass for a whole one.
  "/break": (_, response) => {
    response.writeHead(200, { "content-type": "text/plain" });
    response.write("half", () => setTimeout(() => (response.stream || response.socket).destroy(new Error("broken")), 100));
  },
  "/flood": (_, response) => flood(response, 128 << 20),
  // Takes nothing of the body until it is told to.
  "/lazy": (request, response) => {
    lazy.push(() => {
      request.on("data", (piece) => (seen.received += piece.length));
      request.on("end", () => response.end(String(seen.received)));
    });
  },
  "/take": (_, response) => {
    lazy.splice(0).forEach((take) => take());
    response.end();
  },
  // Answers, and wants no more of the body.
  "/early": (_, response) => {
    response.writeHead(413, { "content-length": "6" });
    response.end("enough");
  },
  "/interim": (_, response) => {
    response.writeEarlyHints({ link: "</style.css>; rel=preload" });
    response.end("whole");
  },
  "/seen": (_, response) => response.end(JSON.stringify(seen)),
};

const server = create((request, response) => {
  request.on("error", () => {});
  response.on("error", () => {});
  const serve = paths[request.url];
  if (serve) return serve(request, response);
  response.statusCode = 404;
  response.end();
});
server.on("sessionError", () => {});
server.requestTimeout = 0;
server.listen(Number(port), host);
