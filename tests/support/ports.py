"""Loopback ports that stay a test's own while nothing listens on them, so that a server can come back to the same port."""

import socket


class ReservedPort:
    """A free port, kept by a bound socket that never listens: connecting is refused until somebody listens.

    Whoever listens on it needs SO_REUSEADDR, which PostgreSQL and asyncio set by themselves.
    """

    def __init__(self):
        self._socket = self._bound(0)
        self.number = self._socket.getsockname()[1]

    @staticmethod
    def _bound(number):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", number))
        return one

    def listen(self):
        """A socket that listens on the port; the port stays reserved after it is closed."""
        listener = self._bound(self.number)
        listener.listen(128)
        return listener

    def release(self):
        """Give the port back to the system."""
        self._socket.close()
