"""The other tests run with every blocking call forbidden in the event loop; this one proves that they do."""

import pytest
from blockbuster import BlockingError
from tests.unit.storage.running_proxy import Proxy

from caravan_common.wire.storage import FolderRef


async def test_a_volume_that_is_used_in_the_event_loop_is_an_error(proxy: Proxy) -> None:
    with pytest.raises(BlockingError):
        proxy.storage.volume("volume1").create_folder(FolderRef.model_validate(proxy.ref))
