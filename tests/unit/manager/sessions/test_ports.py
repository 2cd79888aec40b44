"""Services' ports: what images name, what users open, and what is refused."""

import pytest

from caravan_common.errors import InvalidParametersError
from caravan_manager.sessions.ports import ServicePort, choose_ports, preopened

LABEL = "ai.backend.service-ports"


def test_an_images_services_are_read_from_its_labels() -> None:
    label = "jupyter:http:8081, tensorboard:http:[6006,6007],old:pty:3000"
    assert choose_ports({LABEL: label, "ai.backend.endpoint-ports": "jupyter"}, ()) == (
        ServicePort("jupyter", "http", (8081,), is_inference=True),
        ServicePort("tensorboard", "http", (6006, 6007)),
    )


def test_a_user_opens_ports_besides_and_each_once() -> None:
    ports = choose_ports({LABEL: "jupyter:http:8081"}, (9000, 9001, 9000))
    assert [port.name for port in ports] == ["jupyter", "9000", "9001"]
    assert ports[1].to_json() == {
        "name": "9000",
        "protocol": "preopen",
        "container_ports": [9000],
        "host_ports": [None],
        "is_inference": False,
    }
    assert tuple(ServicePort.from_json(port.to_json()) for port in ports) == ports
    assert preopened(ports) == [9000, 9001]


@pytest.mark.parametrize("port", [2000, 2001, 2200, 7681])
def test_the_ports_of_the_kernels_own_services_are_reserved(port: int) -> None:
    with pytest.raises(InvalidParametersError, match="reserved for internal use"):
        choose_ports({}, (port,))


def test_a_port_of_the_image_is_not_opened_again() -> None:
    with pytest.raises(InvalidParametersError, match="cannot overlap"):
        choose_ports({LABEL: "x:http:[8081,8082]"}, (8082,))


@pytest.mark.parametrize("text", ["x", "x:http", "x:smtp:25", "x:http:[1,", "x:http:8081;y", "x:http:8081:y:http:1"])
def test_an_image_whose_label_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidParametersError, match="cannot be read"):
        choose_ports({LABEL: text}, ())
