"""A whole stack as its operator sees it: what runs, who may do what, and what repeating changes."""

import http.client
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from caravan_deploy.api import Api
from caravan_deploy.errors import ApiError
from caravan_deploy.layout import LOOPBACK
from caravan_deploy.platform.jobs import BOOTSTRAP, SERVICES, STORES, Platform
from caravan_deploy.progress import wait_for
from caravan_deploy.report import status
from caravan_deploy.second import Stack
from caravan_deploy.up import check_ports, start_platform, start_servers

pytestmark = pytest.mark.stack

SHORT_JOB = """
job "brief" {
  group "brief" {
    network {
      port "web" {}
    }
    service {
      name = "brief"
      port = "web"
    }
    task "web" {
      driver = "raw_exec"
      config {
        command = "python3"
        args    = ["-m", "http.server", "--bind", "127.0.0.1", "${NOMAD_PORT_web}"]
      }
      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
"""


def _allocations(stack: Stack) -> dict[str, str]:
    """Return the running allocation of each platform job."""
    running = [a for a in stack.servers.nomad.call("GET", "/v1/allocations") if a["ClientStatus"] == "running"]
    return {a["JobID"]: a["ID"] for a in running}


def _environment_of(stack: Stack, job: str, task: str) -> dict[str, str]:
    """Return the environment of a running task's process."""
    allocation = _allocations(stack)[job]
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                pairs = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            found = dict(pair.partition("=")[::2] for pair in pairs)
            if (found.get("NOMAD_ALLOC_ID"), found.get("NOMAD_TASK_NAME")) == (allocation, task):
                return found
    raise AssertionError(f"no process of {job}/{task}")


def _manager(stack: Stack) -> Api:
    token = _environment_of(stack, "caravan-manager", "manager")["NOMAD_TOKEN"]
    return Api("Nomad", stack.layout.ports.nomad_http, {"X-Nomad-Token": token})


def _vault_as(stack: Stack, policy: str) -> Api:
    made = stack.servers.vault.call("POST", "/v1/auth/token/create", {"policies": [policy], "ttl": "5m"})
    return Api("Vault", stack.layout.ports.vault, {"X-Vault-Token": made["auth"]["client_token"]})


def _status_of(api: Api, method: str, path: str, body: object | None = None) -> int:
    try:
        api.call(method, path, body)
    except ApiError as error:
        return error.answered
    return 200


def test_everything_runs_and_every_check_passes(stack: Stack) -> None:
    rows = {row.what: row.health for row in status(stack.layout)}
    assert {rows[job] for job in (*STORES, *SERVICES)} == {"checks pass"}


def test_the_catalogue_explains_itself(stack: Stack) -> None:
    services = set(stack.servers.consul.call("GET", "/v1/catalog/services"))
    assert services == {
        *("consul", "nomad", "nomad-client", "vault"),
        *("caravan-postgres", "caravan-redis", "caravan-manager", "caravan-storage", "caravan-agent"),
    }


def test_the_manager_answers_at_its_endpoint(stack: Stack) -> None:
    connection = http.client.HTTPConnection(LOOPBACK, stack.layout.ports.manager, timeout=5)
    connection.request("GET", "/")
    assert json.loads(connection.getresponse().read())["manager"] == "25.5.2"
    connection.close()


def test_an_operator_plans_kept_passes_again_in_the_managers_allocation(stack: Stack) -> None:
    command = ["alloc", "exec", "-task", "manager", "-job", "caravan-manager", "sh", "-c", "caravan-manager replay"]
    environment = {
        "NOMAD_ADDR": f"http://{LOOPBACK}:{stack.layout.ports.nomad_http}",
        "NOMAD_TOKEN": stack.tokens.nomad_management,
    }
    ended = subprocess.run(
        [str(stack.programs["nomad"]), *command], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith(" 0 decided otherwise\n")


def test_repeating_every_step_changes_nothing(stack: Stack) -> None:
    before = _allocations(stack)
    check_ports(stack.layout)
    servers = start_servers(stack.layout, stack.programs)
    assert start_platform(stack.layout, servers, stack.image) == stack.admin
    assert _allocations(stack) == before


def test_a_stranger_sees_nothing(stack: Stack) -> None:
    ports = stack.layout.ports
    assert Api("Consul", ports.consul_http).call("GET", "/v1/catalog/nodes") == []
    assert _status_of(Api("Nomad", ports.nomad_http), "GET", "/v1/nodes") == 403
    assert _status_of(Api("Vault", ports.vault), "GET", "/v1/caravan/data/platform/postgres") == 403


@pytest.mark.parametrize(
    ("service", "question"), [("caravan-redis", b"PING\r\n"), ("caravan-agent", b"GET /health HTTP/1.0\r\n\r\n")]
)
def test_who_does_not_speak_tls_gets_no_answer(stack: Stack, service: str, question: bytes) -> None:
    place = stack.servers.consul.call("GET", f"/v1/catalog/service/{service}")[0]
    with socket.create_connection((place["ServiceAddress"] or LOOPBACK, place["ServicePort"]), timeout=5) as connection:
        connection.sendall(question)
        try:
            answer = connection.recv(64)
        except ConnectionResetError:
            answer = b""
    assert not answer.startswith((b"+", b"-", b"HTTP"))


def test_no_service_holds_a_management_token(stack: Stack) -> None:
    tokens = stack.tokens
    root = json.loads((stack.layout.secrets / "vault-keys.json").read_text())["root_token"]
    management = {tokens.consul_management, tokens.nomad_management, root}
    for job, task in (("caravan-manager", "manager"), ("caravan-agent", "agent"), ("caravan-storage", "storage")):
        environment = _environment_of(stack, job, task)
        written = "".join(
            path.read_text(errors="replace")
            for path in Path(environment["NOMAD_SECRETS_DIR"]).iterdir()
            if path.is_file()
        )
        assert not [secret for secret in management if secret in written or secret in environment.values()]


def test_the_manager_may_submit_sessions_and_nothing_else(stack: Stack) -> None:
    manager = _manager(stack)
    assert _status_of(manager, "GET", "/v1/jobs?namespace=caravan") == 200
    assert _status_of(manager, "GET", "/v1/nodes") == 403
    assert _status_of(manager, "GET", "/v1/jobs?namespace=default") == 403
    assert _status_of(manager, "POST", "/v1/namespace/other", {"Name": "other"}) == 403
    volume: dict[str, Any] = {"Volume": {"Name": "v", "Namespace": "caravan", "PluginID": "mkdir"}}
    assert _status_of(manager, "PUT", "/v1/volume/host/create?namespace=caravan", volume) == 403


@pytest.mark.parametrize(
    ("policy", "own", "other"),
    [("postgres", "postgres", "redis"), ("caravan-storage", "storage", "agent"), ("caravan-agent", "agent", "storage")],
)
def test_a_job_reads_its_own_secrets_only(stack: Stack, policy: str, own: str, other: str) -> None:
    vault = _vault_as(stack, policy)
    assert _status_of(vault, "GET", f"/v1/caravan/data/platform/{own}") == 200
    assert _status_of(vault, "GET", f"/v1/caravan/data/platform/{other}") == 403
    assert _status_of(vault, "POST", f"/v1/caravan/data/platform/{own}", {"data": {}}) == 403


def test_only_the_manager_uses_the_key_of_keypairs(stack: Stack) -> None:
    body = {"plaintext": "c2VjcmV0"}
    assert _status_of(_vault_as(stack, "caravan-manager"), "POST", "/v1/transit/encrypt/caravan-keypairs", body) == 200
    assert _status_of(_vault_as(stack, "caravan-agent"), "POST", "/v1/transit/encrypt/caravan-keypairs", body) == 403


def test_the_seed_is_gone_after_its_use(stack: Stack) -> None:
    assert stack.servers.vault.find("/v1/caravan/data/bootstrap") is None
    assert stack.servers.nomad.call("GET", f"/v1/job/{BOOTSTRAP}")["Status"] == "dead"


def test_secrets_lie_in_files_that_only_root_reads(stack: Stack) -> None:
    files = [path for folder in (stack.layout.secrets, stack.layout.etc) for path in folder.iterdir()]
    secret = [path for path in files if path != stack.layout.session_job]
    assert len(secret) >= 7
    assert {path.stat().st_mode & 0o777 for path in [*secret, stack.layout.admin_file]} == {0o600}
    assert "one-machine" in (stack.layout.secrets / "vault-keys.json").read_text()


def test_the_store_holds_no_secret_in_a_job(stack: Stack) -> None:
    secrets = [
        value
        for name in ("postgres", "redis", "storage", "agent")
        for value in stack.servers.vault.call("GET", f"/v1/caravan/data/platform/{name}")["data"]["data"].values()
    ]
    jobs = json.dumps([stack.servers.nomad.call("GET", f"/v1/job/{job}") for job in (*STORES, *SERVICES, BOOTSTRAP)])
    assert not [secret for secret in secrets if secret in jobs]


def test_a_stopped_job_leaves_no_service_behind(stack: Stack) -> None:
    nomad, consul = stack.servers.nomad, stack.servers.consul
    nomad.call("POST", "/v1/jobs", {"Job": nomad.call("POST", "/v1/jobs/parse", {"JobHCL": SHORT_JOB})})
    Platform(stack.layout, nomad, consul).wait_until_healthy("brief")
    nomad.call("DELETE", "/v1/job/brief?purge=true")

    def gone() -> bool | None:
        return None if "brief" in consul.call("GET", "/v1/catalog/services") else True

    wait_for("the service of a stopped job stays in Consul", gone, 60)


def test_ports_and_data_are_the_stacks_own(stack: Stack) -> None:
    assert stack.layout.ports.manager != 8091
    assert stack.layout.root.name.startswith("caravan-test-")
    ports = [
        int(entry["ServicePort"])
        for name in ("caravan-postgres", "caravan-redis")
        for entry in stack.servers.consul.call("GET", f"/v1/catalog/service/{name}")
    ]
    assert all(stack.layout.ports.dynamic_min <= port <= stack.layout.ports.dynamic_max for port in ports)


def test_prometheus_is_told_of_every_service_that_has_metrics(stack: Stack) -> None:
    ports = stack.layout.ports
    internal = Api("manager", ports.manager_internal)
    groups = internal.call("GET", "/metrics/service_discovery")
    assert {group["labels"]["service_group"] for group in groups} == {"manager", "storage"}
    for group in groups:
        [address] = group["targets"]
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request("GET", "/metrics")
        assert connection.getresponse().status == 200
        connection.close()
