"""A leadership in memory: who asks first leads until it is released."""

from dataclasses import dataclass, field

Holders = dict[str, str]
"""Who leads under each key."""


@dataclass
class FakeLeader:
    """Implements the protocol `caravan_common.consul.leader.Leader`; what shares ``holders`` competes."""

    key: str = "leader"
    name: str = "manager"
    holders: Holders = field(default_factory=dict)

    async def hold(self) -> bool:
        return self.holders.setdefault(self.key, self.name) == self.name

    async def release(self) -> None:
        if self.holders.get(self.key) == self.name:
            del self.holders[self.key]
