"""A server of HTTP/2 by the package h2, which answers /chatter with DATA frames of a few bytes, as many as fit its
window, and everything else with a greeting.

http2_chatter.py ADDRESS
"""

import socket
import sys
import threading

import h2.config
import h2.connection
import h2.events

PIECE = b"x" * 25


def chatter(stream, window):
    """Past the package, which takes seconds for so many frames (RFC 9113, section 4.1)."""
    header = len(PIECE).to_bytes(3, "big") + bytes(2) + stream.to_bytes(4, "big")
    return (header + PIECE) * (window // len(PIECE))


def serve(connected):
    http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    http2.initiate_connection()
    connected.sendall(http2.data_to_send())
    while data := connected.recv(65536):
        for event in http2.receive_data(data):
            if not isinstance(event, h2.events.RequestReceived):
                continue
            http2.send_headers(event.stream_id, [(":status", "200")])
            if dict(event.headers)[":path"] == "/chatter":
                connected.sendall(http2.data_to_send())
                connected.sendall(chatter(event.stream_id, http2.remote_settings.initial_window_size))
            else:
                http2.send_data(event.stream_id, b"hello", end_stream=True)
        connected.sendall(http2.data_to_send())


host, port = sys.argv[1].split(":")
listening = socket.create_server((host, int(port)))
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
