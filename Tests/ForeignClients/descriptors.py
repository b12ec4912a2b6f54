"""Example: leases device memory with nothing but Python and PyPI's `varlink`.

varlink's client reads with recv(), which drops the descriptors that come along with a reply. Give it
a connection that keeps them:

    connection = DescriptorSocket("/run/genpool/io.genpool.Broker1")
    broker = varlink.Client("unix:" + path).open("io.genpool.Broker1", connection=connection)
    reply = broker.Acquire(bytes=65536)
    memory = map_lease(reply["lease"], connection.take(reply["descriptor"]))
"""

import mmap
import os
import socket


class DescriptorSocket(socket.socket):
    def __init__(self, path: str) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self.received: list[int] = []
        self.connect(path)

    def recv(self, size: int, flags: int = 0) -> bytes:
        data, descriptors, _, _ = socket.recv_fds(self, size, 16, flags | socket.MSG_CMSG_CLOEXEC)
        self.received += descriptors
        return data

    def take(self, index: int) -> int:
        """The last reply's descriptor of that index; it is the caller's to close."""
        descriptor, self.received = self.received[index], []
        return descriptor


def map_lease(lease: dict, descriptor: int) -> mmap.mmap:
    memory = mmap.mmap(descriptor, lease["size"], offset=lease["mapOffset"])
    os.close(descriptor)  # the mapping stays
    return memory
