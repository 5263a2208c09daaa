"""What tests of several machines rely on: hosts that are apart, and reach each other."""

import socket
import subprocess
import sys

from tests import hosts

ASK = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(9).decode())"


def test_a_host_reaches_this_machine_by_its_address_and_has_a_loopback_of_its_own():
    with hosts.network(2) as network, socket.create_server((network.address, 0)) as server:
        port = str(server.getsockname()[1])
        one, two = network.hosts
        asking = subprocess.Popen(
            one.command(sys.executable, "-c", ASK, network.address, port), stdout=subprocess.PIPE, text=True
        )
        connection, peer = server.accept()
        with connection:
            connection.sendall(b"hello")
        assert asking.communicate(timeout=10)[0] == "hello\n"
        assert peer[0] == one.address
        assert "refused" in two.run(sys.executable, "-c", ASK, "127.0.0.1", port).stderr


def test_what_a_network_made_is_gone_after_it():
    with hosts.network(1) as network:
        name = network.hosts[0].name
        assert name in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
    assert name not in left
    assert name[2:10] not in links
