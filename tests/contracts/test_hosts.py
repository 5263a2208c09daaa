"""What tests of several machines rely on: hosts that are apart, and reach each other."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable

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


def test_a_host_that_lost_its_cable_is_not_reached_until_it_has_it_back():
    with hosts.network(2) as network:
        one, two = network.hosts
        listen = "import socket, sys; s = socket.create_server((sys.argv[1], 7000)); print(flush=True); s.accept()"
        listening = subprocess.Popen(
            one.command(sys.executable, "-c", listen, one.address), stdout=subprocess.PIPE, text=True
        )
        assert listening.stdout is not None
        listening.stdout.readline()
        ask = "import socket, sys; socket.create_connection((sys.argv[1], 7000), float(sys.argv[2]))"
        one.cut()
        assert two.run(sys.executable, "-c", ask, one.address, "0.5").returncode != 0
        one.mend()
        assert two.run(sys.executable, "-c", ask, one.address, "10").returncode == 0
        assert listening.wait(10) == 0


def test_of_a_host_that_dies_nothing_lives_on():
    with hosts.network(2) as network:
        dead, alive = (subprocess.Popen(host.command("sleep", "1000")) for host in network.hosts)
        try:
            _wait_for(lambda: [len(host.pids()) for host in network.hosts] == [1, 1])
            network.hosts[0].kill()
            assert dead.wait(10) == -9
            assert alive.poll() is None
        finally:
            alive.kill()
            alive.wait()


def _wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
