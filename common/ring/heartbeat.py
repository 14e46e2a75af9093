"""Noticing ranks that no longer answer: a frozen process or a lost machine would let the others wait for ever.

Horovod's own stall check cannot see them: it runs in the very exchange in which a frozen rank is missing. So every
rank sends the chief a byte a second over a connection of its own, and the chief sends it back. A rank that has died
is not looked for here, since mpirun sees that at once and ends the others.
"""

import contextlib
import os
import secrets
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

SILENCE = 30  # seconds
BEAT = 1.0  # seconds
TOKEN = 16  # bytes that a rank says first, so that no stranger is taken for one


def start_heartbeat(rank: int, gather: Callable[[object], list]) -> None:
    """Connect this rank with the chief, and end the process, saying who is silent, when the other side is.

    `gather` gives the values that all ranks pass to it, by rank. A rank that finds no way to the chief goes without.
    """
    server = socket.create_server(("", 0), backlog=1024) if rank == 0 else None
    host = socket.gethostname()
    me = {"host": host, "process": os.getpid()}
    if server:
        me |= {"addresses": _addresses(host), "port": server.getsockname()[1], "token": secrets.token_hex(TOKEN)}
    members = gather(me)
    token = bytes.fromhex(members[0]["token"])
    if server:
        job = (_chief, server, token, members)
    elif connection := _connect(members[0], token, rank):
        job = (_member, connection, members, rank)
    else:
        return
    threading.Thread(target=job[0], args=job[1:], name="heartbeat", daemon=True).start()


def _addresses(host: str) -> list[str]:
    """List the addresses under which this machine may be reached."""
    import psutil  # comes with Horovod

    found = [a.address for all_of in psutil.net_if_addrs().values() for a in all_of if a.family == socket.AF_INET]
    return [host, *sorted(found, key=lambda address: address.startswith("127."))]


def _connect(chief: dict, token: bytes, rank: int) -> socket.socket | None:
    near = ["127.0.0.1"] if chief["host"] == socket.gethostname() else []
    for address in [*near, *chief["addresses"]]:
        with contextlib.suppress(OSError):
            connection = socket.create_connection((address, chief["port"]), timeout=3)
            connection.sendall(token + rank.to_bytes(4))
            return connection
    return None


def _chief(server: socket.socket, token: bytes, members: list[dict]) -> None:
    ranks: dict[socket.socket, int | None] = {}  # None: has not said yet who it is
    silent: dict[int, float] = {}  # seconds
    for waited in _beats():
        for rank in silent:
            silent[rank] += waited
        for connection in select.select([server, *ranks], [], [], 0)[0]:
            if connection is server:
                ranks[server.accept()[0]] = None
                continue
            rank = ranks[connection]
            heard = _receive(connection, 1024)
            if rank is None and len(heard) >= TOKEN + 4 and secrets.compare_digest(heard[:TOKEN], token):
                ranks[connection] = rank = int.from_bytes(heard[TOKEN : TOKEN + 4])
            if heard and rank is not None:
                silent[rank] = 0.0
            else:  # has left, or is a stranger
                del ranks[connection]
                connection.close()
                silent.pop(rank, None)
        for connection in ranks:
            _send(connection)
        for rank, seconds in silent.items():
            if seconds > SILENCE:
                _end(rank, members[rank])


def _member(connection: socket.socket, members: list[dict], rank: int) -> None:
    silent = 0.0
    for waited in _beats():
        _send(connection)
        ready, _, _ = select.select([connection], [], [], 0)
        if ready and not _receive(connection, 1024):
            return  # the chief has left
        silent = 0.0 if ready else silent + waited
        if silent > SILENCE:
            time.sleep(0.2 * rank)  # one line is enough: the first to end takes the others with it
            _end(0, members[0])


def _beats() -> Iterator[float]:
    """Yield every BEAT the seconds since the one before, as far as this process was not frozen itself."""
    before = time.monotonic()
    while True:
        time.sleep(BEAT)
        now = time.monotonic()
        yield min(now - before, 2 * BEAT)
        before = now


def _receive(connection: socket.socket, size: int) -> bytes:
    """Receive what has come; nothing when the other side has closed, or is no longer there."""
    try:
        return connection.recv(size)  # asked only when there is something: it never waits
    except OSError:
        return b""


def _send(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.send(b".", socket.MSG_DONTWAIT)


def _end(rank: int, member: dict) -> None:
    line = f"error: rank {rank} (process {member['process']} on {member['host']}) has not answered for {SILENCE} s"
    os.write(sys.__stderr__.fileno(), f"{line}; the ring ends, the same command goes on\n".encode())
    os._exit(1)
