"""A TCP proxy between a client and a server under test, which breaks their connections in every way that a network can.

    with TcpProxy(node.port) as proxy:
        client = connect(proxy.port)
        proxy.stall_responses()    # requests arrive, answers do not
        proxy.pass_through()       # and now they do

A mode holds for connections that are open and for those that come, until the next mode; it is in force when the call returns.
What an earlier mode held back is not lost: it goes on under the next one. Methods may be called from any thread.
"""

import asyncio
import contextlib
import dataclasses
import socket
import struct
import threading

from ports import ReservedPort

REQUESTS, RESPONSES = "requests", "responses"
CHUNK_BYTES = 65536
DRIBBLES_PER_SECOND = 20
CALL_SECONDS = 10


@dataclasses.dataclass(frozen=True)
class Mode:
    """What happens to bytes: directions that are held back, and how slow the others are."""

    held: frozenset = frozenset()
    delay_seconds: float = 0
    bytes_per_second: float | None = None
    response_bytes_max: int | None = None


class Connection:
    """One client and, once a byte may pass, its connection to the server."""

    def __init__(self, client):
        self.client = client
        self.server = None
        self.task = None
        self.response_bytes_left = None


class Cut(Exception):
    """The connection has had all the bytes that it may have."""


class TcpProxy:
    """Listens on `port`, which never changes, and connects to the target's for each client; its counters are plain attributes.

    A client whose server cannot be reached is accepted and closed. For a refused connection there is refuse().
    """

    def __init__(self, target_port, target_host="127.0.0.1"):
        self.target = (target_host, target_port)
        self.connections_accepted = 0
        self.bytes_to_server = 0
        self.bytes_to_client = 0
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._mode = Mode()
        self._connections = set()
        self._listener = None
        self._accepting = None
        self._one_call = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"tcp-proxy-{self.port}", daemon=True)
        self._thread.start()
        self.pass_through()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def connections_open(self):
        """How many connections there are now."""
        return len(self._connections)

    # --- modes --------------------------------------------------------------------------------------------------------

    def pass_through(self):
        """Forward everything at once."""
        self._call(self._set_mode(Mode()))

    def stall(self):
        """A black hole: connections are accepted and kept, and nothing passes, not even an end or a reset."""
        self._call(self._set_mode(Mode(held=frozenset({REQUESTS, RESPONSES}))))

    def stall_responses(self):
        """What clients send arrives, and what the server answers does not."""
        self._call(self._set_mode(Mode(held=frozenset({RESPONSES}))))

    def truncate_after(self, count):
        """Cut each connection when that many more bytes have come from the server, in the middle of whatever message."""
        self._call(self._set_mode(Mode(response_bytes_max=count)))

    def delay(self, seconds):
        """Hold each chunk for a time, in both directions."""
        self._call(self._set_mode(Mode(delay_seconds=seconds)))

    def dribble(self, bytes_per_second):
        """A slow line, in both directions; connections do not share its speed."""
        self._call(self._set_mode(Mode(bytes_per_second=bytes_per_second)))

    def close_all(self, reset=False):
        """Close the connections that are open, with FIN or RST; the mode stays, and new ones are accepted as before."""
        self._call(self._close_connections(reset))

    def refuse(self, reset=False):
        """Close the connections that are open and listen no more: connecting is refused until the next mode."""
        self._call(self._refuse(reset))

    def close(self):
        """End the proxy."""
        if self._loop.is_closed():
            return
        self._call(self._refuse(reset=True))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()
        self._reserved.release()

    def _call(self, coroutine):
        with self._one_call:
            asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_SECONDS)

    async def _set_mode(self, mode):
        self._mode = mode
        for connection in self._connections:
            connection.response_bytes_left = mode.response_bytes_max
        self._changed.set()
        self._changed = asyncio.Event()
        if self._listener is None:
            self._listener = self._reserved.listen()
            self._listener.setblocking(False)
            self._accepting = self._loop.create_task(self._accept())

    async def _refuse(self, reset):
        if self._listener is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._listener.close()
            self._listener = None
        await self._close_connections(reset)

    async def _close_connections(self, reset):
        connections = list(self._connections)
        for connection in connections:
            if reset:
                _reset_on_close(connection)
            connection.task.cancel()
        await asyncio.gather(*(connection.task for connection in connections), return_exceptions=True)

    # --- forwarding ---------------------------------------------------------------------------------------------------

    async def _accept(self):
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(client)
            connection.response_bytes_left = self._mode.response_bytes_max
            self.connections_accepted += 1
            self._connections.add(connection)
            connection.task = self._loop.create_task(self._serve(connection))
            connection.task.add_done_callback(lambda _, connection=connection: self._finish(connection))

    def _finish(self, connection):
        self._connections.discard(connection)
        for one in (connection.client, connection.server):
            if one is not None:
                one.close()

    async def _serve(self, connection):
        await self._open(REQUESTS)
        connection.server = server = socket.socket()
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pumps = []
        try:
            await self._loop.sock_connect(server, self.target)
            pumps = [self._loop.create_task(self._pump(connection, connection.client, server, REQUESTS)),
                     self._loop.create_task(self._pump(connection, server, connection.client, RESPONSES))]
            await asyncio.gather(*pumps)
        except Cut:
            pass
        except OSError:
            _reset_on_close(connection)  # one side was reset, so the other is
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _open(self, direction):
        """Wait until the mode lets bytes of a direction pass."""
        while direction in self._mode.held:
            await self._changed.wait()

    async def _pump(self, connection, source, sink, direction):
        while True:
            await self._open(direction)
            try:
                data = await self._loop.sock_recv(source, CHUNK_BYTES)
            except OSError:
                await self._open(direction)
                raise
            await self._forward(connection, sink, direction, data)
            if not data:
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
                return

    async def _forward(self, connection, sink, direction, data):
        await self._open(direction)
        if self._mode.delay_seconds:
            await self._pause(self._mode.delay_seconds)
        data = memoryview(data)
        while data:
            await self._open(direction)
            size = len(data)
            speed = self._mode.bytes_per_second
            if speed is not None:
                size = min(size, max(1, int(speed / DRIBBLES_PER_SECOND)))
            limited = direction == RESPONSES and connection.response_bytes_left is not None
            if limited:
                size = min(size, connection.response_bytes_left)
                connection.response_bytes_left -= size
            if direction == REQUESTS:  # counted first: what has arrived has been counted
                self.bytes_to_server += size
            else:
                self.bytes_to_client += size
            await self._loop.sock_sendall(sink, data[:size])
            data = data[size:]
            if limited and connection.response_bytes_left == 0:
                raise Cut
            if speed is not None:
                await self._pause(size / speed)
        await self._open(direction)

    async def _pause(self, seconds):
        """Wait for a time, or for the next mode."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)


def _reset_on_close(connection):
    for one in (connection.client, connection.server):
        if one is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
