"""The agent as the process that Nomad runs: started from a file, killed, stopped by a signal, two at a time refused."""

# ruff: noqa: ASYNC110 - a test may block, and it looks again and again

import asyncio
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

pytestmark = pytest.mark.stack

PROGRAM = "from caravan_agent_driver.cli import main; main()"


def _toml(config, api: int, metrics: int) -> str:
    return f"""
node_name = "{config.node_name}"
node_id = "{config.node_id}"
advertise_url = "{config.advertise_url}"
cluster = "{config.cluster}"
socket = "{config.socket}"
state_dir = "{config.state_dir}"
network_pool = "{config.network_pool}"
api = {{ port = {api}, token = "{config.api.token.get_secret_value()}" }}
metrics = {{ port = {metrics} }}
slots = {{ cpu = "2", mem = "1073741824" }}
redis = {{ host = "127.0.0.1", port = {config.redis.port}, password = "" }}
volumes.volume1.path = "{config.volumes["volume1"].path}"
"""


@asynccontextmanager
async def _process(node, file: Path, api: int):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "serve", "--config", str(file), stderr=asyncio.subprocess.PIPE
    )
    node.url = f"http://127.0.0.1:{api}"
    try:
        async with asyncio.timeout(20):
            while process.returncode is None:
                try:
                    if (await node.call("GET", "/health"))[0] == 200:
                        break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_killed_agent_goes_on_where_it_was_and_a_stopped_one_says_goodbye(
    node, tmp_path, unused_tcp_port_factory
) -> None:
    await node.stop()
    api, metrics = unused_tcp_port_factory(), unused_tcp_port_factory()
    file = tmp_path / "agent.toml"
    file.write_text(_toml(node.config, api, metrics))
    mount, _ = node.folder("data")
    spec = node.spec(startup_command="echo one; sleep 2; echo two; exit 6", mounts=[mount])

    async with _process(node, file, api) as agent:
        assert (await node.announce(spec))[0] == 202
        agent.kill()
        await agent.wait()
    async with _process(node, file, api) as agent:
        await node.until_prepared(spec)
        container = await node.run(spec)
        await node.until(spec.kernel, "kernel_started")
        agent.kill()
        await agent.wait()
    async with _process(node, file, api) as agent:
        async with asyncio.timeout(15):
            while not any(event.type == "kernel_terminated" for event in await node.events(spec.kernel)):
                await asyncio.sleep(0.05)
        await node.remove(container)
        assert await node.clean(spec.kernel) == (0, "")
        assert await node.log(spec.kernel) == "one\ntwo\n"
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{metrics}/metrics") as answer:
            assert "caravan_agent_events_total" in await answer.text()
        agent.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(agent.wait(), 10) == 0

    assert (await node.told())[-1][1].type == "node_stopped"
    await node.until_gone(spec)


async def test_a_second_agent_on_the_same_socket_is_refused(node, tmp_path, unused_tcp_port) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(_toml(node.config, unused_tcp_port, 0))

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "serve", "--config", str(file), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()

    assert process.returncode == 1
    assert said.decode().strip().endswith(f"another agent runs already: it answers at {node.config.socket}")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("socket", "relative", "absolute path"), ("network_pool", "10.0.0.0/30", "at least one /28"),
     ("slots", {"CPU!": "1"}, "slot"), ("surprise", 1, "surprise")],
)  # fmt: skip
async def test_a_wrong_configuration_is_one_sentence(node, tmp_path, key, value, said) -> None:
    text = value if isinstance(value, dict) else f'"{value}"'
    lines = [line for line in _toml(node.config, 0, 0).splitlines() if not line.startswith(f"{key} ")]
    value = "{ 'CPU!' = '1' }" if isinstance(value, dict) else text
    (tmp_path / "agent.toml").write_text("\n".join([f"{key} = {value}", *lines]))

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "serve", "--config", str(tmp_path / "agent.toml"), stderr=asyncio.subprocess.PIPE
    )
    _, output = await process.communicate()

    assert process.returncode == 1
    assert len(output.decode().splitlines()) == 1
    assert said in output.decode()
