"""broken_proxy.py: a proxy in front of a server that plants one bug, to prove that the runner finds it."""

import socket
import threading


def swap_reply(old, new):
    return lambda data: data, lambda data: data.replace(old, new)


def swap_request(old, new):
    return lambda data: data.replace(old, new), lambda data: data


# name → (change of requests, change of replies)
BUGS = {
    "getdel-keeps-the-key": swap_request(b"$6\r\nGETDEL\r\n", b"$5\r\nGETEX\r\n"),
    "pexpire-without-condition": swap_request(b"$2\r\nGT\r\n", b"$2\r\nLT\r\n"),
    "another-error-text": swap_reply(b"-ERR syntax error", b"-ERR Syntax error"),
    "null-in-the-wrong-dialect": swap_reply(b"_\r\n", b"$-1\r\n"),
    "a-reply-is-lost": swap_reply(b"$5\r\nhello\r\n", b""),
    "protocol-error-is-tolerated": swap_reply(b"-ERR Protocol error: expected '$'", b"-ERR Protocol error, expected '$'"),
}


class Proxy:
    """Listens on self.port like a server; one thread per direction and connection."""

    def __init__(self, target_port, bug):
        self.target_port = target_port
        self.change_request, self.change_reply = BUGS[bug]
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            target = socket.create_connection(("127.0.0.1", self.target_port))
            for source, sink, change in ((client, target, self.change_request), (target, client, self.change_reply)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pump, args=(source, sink, change), daemon=True).start()

    @staticmethod
    def pump(source, sink, change):
        try:
            while data := source.recv(1 << 20):
                sink.sendall(change(data))
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def connect(self, timeout=30):
        s = socket.create_connection(("127.0.0.1", self.port), timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def is_alive(self):
        return True

    def close(self):
        self.listener.close()
