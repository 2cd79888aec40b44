"""A second machine joins, runs sessions and leaves, and who listens on the wire between the two learns nothing.

The tests go through a machine's life in the order in which they stand.
"""

import base64
import json
import re
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.conftest import User, eventually, sql
from tests.integration.cluster.conftest import NODE, Cluster

from caravan_deploy.api import Api
from caravan_deploy.errors import ApiError
from caravan_deploy.layout import load_layout
from caravan_deploy.nodes.token import read_token
from caravan_deploy.servers.credentials import load_credentials

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(600)]

SECRET = "a-user-s-own-secret-7d1f4c"
LARGER_THAN_THE_SERVER = "cpu=3"
TELLING = {
    r"Bearer \w",
    r"hv[sb]\.[\w-]{20}",
    r"eyJhbGciOi",
    "PRIVATE KEY",
    "BACKENDAI_",
    "X-(Vault|Consul|Nomad)-Token",
}
"""What shows that somebody says tokens or specifications of kernels in the clear."""
MAIN = """
import json, os, socket
meeting = socket.create_server(("", int(os.environ["MASTER_PORT"])))
print(os.environ["RANK"], "of", os.environ["WORLD_SIZE"], "at", os.environ["MASTER_ADDR"], flush=True)
for _ in range(2):
    print("heard", meeting.accept()[0].makefile().readline(), flush=True)
for name, (host, port) in json.load(open("/home/config/ssh/port-mapping.json")).items():
    if name != "main1":
        print(name, "is", socket.create_connection((host, port)).makefile().readline(), flush=True)
"""
"""The first rank hears the others at the meeting point, then asks each where its SSH server would be."""
SUB = """[ "$BACKENDAI_CLUSTER_ROLE" = main ] || exec python3 -c '
import os, socket, time
name, server = socket.gethostname(), socket.create_server(("", 2200))
while True:
    try:
        meeting = socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])))
        break
    except OSError:
        time.sleep(0.1)
told = name, os.environ["RANK"], os.environ["MASTER_ADDR"], socket.gethostbyname("main1")
meeting.sendall((" ".join(told) + "\\n").encode())
server.accept()[0].sendall((name + "\\n").encode())
time.sleep(600)
'
"""


def _node_of(cluster: Cluster, session_id: str) -> str:
    """Return the name of the Nomad client that ran the session."""
    path = f"/v1/job/s-{session_id}/allocations?namespace=caravan"
    return str(cluster.stack.servers.nomad.call("GET", path)[0]["NodeName"])


def _agents(user: User) -> str:
    return user.must("admin", "agent", "list")


def _batch(user: User, image: str, name: str, command: str, *more: str) -> dict[str, Any]:
    user.must(*("session", "create", "--type", "batch", "--startup-command", command), *more, "--name", name, image)
    return user.until(name, "TERMINATED", "ERROR", "CANCELLED")


def _connects(cluster: Cluster, host: str, port: int) -> bool:
    """Say whether the second machine reaches a port."""
    words = f"exec 3<>/dev/tcp/{host}/{port}"
    return cluster.machine.run("timeout", "5", "bash", "-c", words).returncode == 0


@pytest.fixture
def short_lived(cluster: Cluster) -> Generator[None]:
    """Let machines' certificates live half a minute."""
    vault, path = cluster.stack.servers.vault, "/v1/caravan-pki/roles/node"
    role = vault.call("GET", path)["data"]
    vault.call("POST", path, role | {"ttl": "30s", "max_ttl": "30s"})
    yield
    vault.call("POST", path, role)


def test_a_false_server_is_told_nothing(cluster: Cluster) -> None:
    token = json.loads(base64.urlsafe_b64decode(cluster.invited()))
    false = base64.urlsafe_b64encode(json.dumps(token | {"fingerprint": "0" * 64}).encode()).decode()
    refused = cluster.machine.caravan_stack("join", CARAVAN_JOIN_TOKEN=false)
    assert refused.returncode == 1
    assert "is not the server that made the join token" in refused.stderr
    assert not cluster.machine.root.exists()


def test_a_machine_joins_with_one_line(cluster: Cluster, user: User) -> None:
    token = cluster.invited()
    joined = cluster.machine.caravan_stack("join", CARAVAN_JOIN_TOKEN=token)
    assert joined.returncode == 0, joined.stdout + joined.stderr
    assert eventually(lambda: NODE in _agents(user))
    assert cluster.machine.caravan_stack("status").returncode == 0
    assert f"node {NODE}" in cluster.on_server("status").stdout
    again = cluster.machine.caravan_stack("join", CARAVAN_JOIN_TOKEN=token)
    assert "the join token was used before" in again.stderr


def test_a_session_for_which_the_server_is_too_small_runs_on_the_other_machine(
    cluster: Cluster, user: User, image: str
) -> None:
    wanted = ("-r", LARGER_THAN_THE_SERVER, "-r", "mem=256m", "-e", f"SECRET={SECRET}")
    ended = _batch(user, image, "elsewhere", "echo read ${#SECRET} letters", *wanted)
    assert (ended["status"], ended["result"]) == ("TERMINATED", "SUCCESS")
    assert _node_of(cluster, ended["session_id"]) == NODE
    assert f"read {len(SECRET)} letters" in user.must("session", "logs", "elsewhere")
    assert eventually(lambda: cluster.machine.containers() == [])


def test_a_session_with_folders_goes_where_they_are(cluster: Cluster, user: User, image: str, tmp_path: Path) -> None:
    user.must("vfolder", "create", "data", "local:volume1")
    small = ("-r", "cpu=1", "-r", "mem=128m", "-v", "data")
    ended = _batch(user, image, "withdata", "touch /home/work/data/seen", *small)
    assert ended["result"] == "SUCCESS"
    assert _node_of(cluster, ended["session_id"]) == cluster.stack.layout.name


def test_the_ranks_of_a_gang_on_two_machines_begin_together_and_reach_each_other(
    cluster: Cluster, user: User, image: str, tmp_path: Path
) -> None:
    sql(cluster.stack, "UPDATE keypair_resource_policies SET max_containers_per_session = 3")
    (tmp_path / "boot.sh").write_text(SUB)
    command = f"getent hosts sub1 sub2; python3 -c '{MAIN}' && echo met; sleep 600"
    filling_both = ("--cluster-size", "3", "--cluster-mode", "multi-node", "-r", "cpu=2", "-r", "mem=128m")
    scripts = ("--startup-command", command, "--bootstrap-script", str(tmp_path / "boot.sh"))
    batch = ("--type", "batch", *scripts, "--name", "apart")
    user.must("session", "create", *batch, *filling_both, image)
    session = user.until("apart", "RUNNING", "TERMINATED", "ERROR")
    assert session["status"] == "RUNNING", session
    listed = cluster.stack.servers.nomad.call("GET", f"/v1/job/s-{session['session_id']}/allocations?namespace=caravan")
    nodes = {allocation["TaskGroup"]: allocation["NodeName"] for allocation in listed}
    server = cluster.stack.layout
    assert sorted(nodes.values()) == sorted([NODE, NODE, server.name])

    log = eventually(lambda: t if "met" in (t := user.run("session", "logs", "apart").stdout) else "")
    assert "0 of 3 at main1" in log, user.run("session", "logs", "apart")
    addresses = {NODE: cluster.machine.address, server.name: server.address}
    for rank, other in enumerate(("sub1", "sub2"), 1):
        is_away = nodes[other] != nodes["main1"]
        (found,) = re.findall(rf"^(\S+)\s+{other}$", log, re.MULTILINE)
        assert (found == addresses[nodes[other]]) == is_away, log
        ((told, main),) = re.findall(rf"^heard {other} {rank} (\S+) (\S+)$", log, re.MULTILINE)
        assert told == (addresses[nodes["main1"]] if is_away else "main1"), log
        assert (main == told) == is_away, log
        assert f"{other} is {other}" in log
    user.must("session", "restart", "apart")  # the containers are new, their ports the same
    assert eventually(lambda: user.run("session", "logs", "apart").stdout.count("\nmet") == 2)
    user.must("session", "destroy", "apart")
    assert user.until("apart", "TERMINATED", "ERROR")
    assert eventually(lambda: cluster.machine.containers() == [])


def test_two_gangs_on_the_same_machines_at_once_meet_at_ports_of_their_own(
    cluster: Cluster, user: User, image: str, tmp_path: Path
) -> None:
    sql(cluster.stack, "UPDATE keypair_resource_policies SET max_containers_per_session = 3")
    (tmp_path / "boot.sh").write_text(SUB)
    scripts = ("--startup-command", f"python3 -c '{MAIN}' && echo met", "--bootstrap-script", str(tmp_path / "boot.sh"))
    where = ("--assign-agent", f"{cluster.stack.layout.name},{NODE},{NODE}")
    three = ("--cluster-size", "3", "--cluster-mode", "multi-node", "-r", "cpu=1", "-r", "mem=128m", *where)
    for name in ("left", "right"):
        gang = ("--type", "batch", *scripts, "--enqueue-only", *three, "--name", name)
        user.must("session", "create", *gang, image)
    for name in ("left", "right"):
        over = user.until(name, "TERMINATED", "ERROR", "CANCELLED")
        assert (over["status"], over["result"]) == ("TERMINATED", "SUCCESS"), over
        log = user.run("session", "logs", name).stdout
        assert "0 of 3 at main1" in log
        assert {f"heard {rank}" for rank in ("sub1", "sub2")} <= set(re.findall(r"heard \w+", log))
        assert "met" in log
    assert eventually(lambda: cluster.machine.containers() == [])


def test_the_other_machine_reaches_what_it_needs_and_nothing_else(cluster: Cluster) -> None:
    layout = cluster.stack.layout
    open_ports = {layout.ports.vault, layout.ports.consul_server, layout.ports.nomad_rpc, layout.ports.agent}
    shut = set(layout.ports.fixed().values()) - open_ports
    shut -= {layout.ports.consul_serf, layout.ports.nomad_serf, layout.ports.vault_cluster}
    assert all(_connects(cluster, layout.address, port) for port in open_ports)
    assert not [port for port in shut if _connects(cluster, layout.address, port)]


def test_nothing_of_value_can_be_read_on_the_wire(cluster: Cluster, user: User, image: str) -> None:
    stack, wire = cluster.stack, cluster.wire
    with socket.create_server((stack.layout.address, 0)) as server:
        words = f"exec 3<>/dev/tcp/{stack.layout.address}/{server.getsockname()[1]}; echo said in the clear >&3"
        cluster.machine.run("bash", "-c", words)
    assert eventually(lambda: wire.flows_with("said in the clear"))

    own = load_credentials(load_layout(cluster.machine.root, {}))
    kept = {
        value
        for name in ("postgres", "redis", "storage", "storage-signing", "agent")
        for value in stack.servers.vault.call("GET", f"/v1/caravan/data/platform/{name}")["data"]["data"].values()
    }
    tokens = {stack.tokens.consul_management, stack.tokens.nomad_management, own.consul, own.secret_id, own.gossip}
    for secret in {re.escape(secret) for secret in {SECRET} | kept | tokens} | TELLING:
        assert wire.flows_with(secret) == [], secret
    ports, redis = stack.layout.ports, stack.servers.consul.call("GET", "/v1/catalog/service/caravan-redis")
    for port in (ports.vault, ports.nomad_rpc, ports.consul_server, ports.agent, redis[0]["ServicePort"]):
        assert wire.bytes_of_port(port) > 0, port


def test_a_machine_that_stopped_comes_back_without_a_token(cluster: Cluster, user: User) -> None:
    assert cluster.machine.caravan_stack("down").returncode == 0
    assert eventually(lambda: NODE not in _agents(user))
    back = cluster.machine.caravan_stack("join")
    assert back.returncode == 0, back.stdout + back.stderr
    assert eventually(lambda: NODE in _agents(user))


def test_a_certificate_is_renewed_before_it_ends_and_the_machine_goes_on(
    cluster: Cluster, user: User, image: str, short_lived: None
) -> None:
    certificate = load_layout(cluster.machine.root, {}).certificate
    assert cluster.machine.caravan_stack("down").returncode == 0
    certificate.unlink()
    assert cluster.machine.caravan_stack("join").returncode == 0
    for _ in range(2):  # with the third, the first is over
        held = certificate.read_text()
        assert eventually(lambda held=held: certificate.read_text() != held)
    ended = _batch(user, image, "renewed", "true", "-r", LARGER_THAN_THE_SERVER, "-r", "mem=128m")
    assert ended["result"] == "SUCCESS"
    assert _node_of(cluster, ended["session_id"]) == NODE


def test_a_machine_leaves_when_nothing_runs_there_or_by_force(cluster: Cluster, user: User, image: str) -> None:
    user.must("session", "create", "-r", LARGER_THAN_THE_SERVER, "-r", "mem=256m", "--name", "there", image)
    refused = cluster.machine.caravan_stack("leave")
    assert refused.returncode == 1
    assert "sessions run on this machine" in refused.stderr

    own = load_credentials(load_layout(cluster.machine.root, {}))
    left = cluster.machine.caravan_stack("leave", "--force")
    assert left.returncode == 0, left.stdout + left.stderr
    assert not cluster.machine.root.exists()
    assert user.until("there", "TERMINATED", "ERROR")
    assert eventually(lambda: NODE not in _agents(user))

    assert cluster.on_server("expel", NODE).returncode == 0
    nomad, consul, vault = (getattr(cluster.stack.servers, name) for name in ("nomad", "consul", "vault"))
    assert [node["Name"] for node in nomad.call("GET", "/v1/nodes")] == [cluster.stack.layout.name]
    assert [node["Node"] for node in consul.call("GET", "/v1/catalog/nodes")] == [cluster.stack.layout.name]
    login = {"role_id": own.role_id, "secret_id": own.secret_id}
    with pytest.raises(ApiError):
        Api("Vault", vault.port).call("POST", "/v1/auth/approle/login", login)
    with pytest.raises(ApiError):
        Api("Consul", consul.port, {"X-Consul-Token": own.consul}).call("GET", "/v1/acl/token/self")


def test_a_token_that_is_none_is_refused_in_one_sentence(cluster: Cluster) -> None:
    refused = cluster.machine.caravan_stack("join", CARAVAN_JOIN_TOKEN="nonsense")
    assert refused.returncode == 1
    assert "that is no join token" in refused.stderr
    assert read_token(cluster.invited()).server == cluster.stack.layout.address
