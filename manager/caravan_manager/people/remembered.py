"""Credentials that were just looked up, so that a client's burst of requests costs one query and not one each."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from caravan_manager.people.model import Credentials

CAPACITY = 10_000


class RememberedCredentials:
    """Credentials by access key, at most ``CAPACITY``, each for ``lifetime`` seconds; 0 remembers nothing.

    A change made elsewhere, such as a keypair that was deactivated, is seen when the lifetime is over; who changes
    something in this process calls :meth:`forget_all`.
    """

    def __init__(self, lifetime: float, clock: Callable[[], float]) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Credentials]] = OrderedDict()
        self._changes = 0

    async def get(self, access_key: str, load: Callable[[str], Awaitable[Credentials | None]]) -> Credentials | None:
        """Return the credentials, loaded if they are not known. An unknown access key is not remembered."""
        known = self._known.get(access_key)
        if known is not None and known[0] > self._clock():
            return known[1]
        changes = self._changes
        loaded = await load(access_key)
        if loaded is None:
            self._known.pop(access_key, None)
        elif self._lifetime > 0 and changes == self._changes:
            self._known[access_key] = (self._clock() + self._lifetime, loaded)
            while len(self._known) > CAPACITY:
                self._known.popitem(last=False)
        return loaded

    def forget_all(self) -> None:
        """Forget everything, what is being loaded just now included."""
        self._changes += 1
        self._known.clear()
