"""The one way to Redis: encrypted and checked against the cluster's CA where the configuration names one."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry

from caravan_common.config import RedisSection

CONNECT_SECONDS = 5.0


def make_redis(section: RedisSection, *, answer_seconds: float, retry: Retry) -> Redis:
    """Return a client that connects when it is used."""
    ca = section.ca_file
    return Redis(
        host=section.host,
        port=section.port,
        password=section.password.get_secret_value() or None,
        socket_timeout=answer_seconds,
        socket_connect_timeout=CONNECT_SECONDS,
        ssl=ca is not None,
        ssl_ca_certs=None if ca is None else str(ca),
        retry=retry,
    )
