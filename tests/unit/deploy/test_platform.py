"""What the deploy room writes for others to read: HCL strings, the seed of the first admin."""

import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest
from pydantic import ValidationError

from caravan_deploy.layout import REPOSITORY, Layout
from caravan_deploy.platform.admin import Admin, seed_text, write_admin_file
from caravan_deploy.platform.image import KernelImage
from caravan_deploy.platform.jobs import BOOTSTRAP, SERVICES, STORES, hcl_string, variables
from caravan_manager.bootstrap import Seed

ADMIN = Admin("admin@example.org", "admin", 'long "pass"word\\', "AKIA0000000000000000", "s" * 40)
IMAGE = KernelImage("caravan/python", "3.11", "x86_64", "sha256:0", 42, {"ai.backend.kernelspec": "1", "empty": ""})


@pytest.mark.parametrize(
    ("value", "written"),
    [("plain", '"plain"'), ('a"b', '"a\\"b"'), ("${meta.x}", '"$${meta.x}"'), ("%{if}", '"%%{if}"')],
)
def test_a_value_never_becomes_an_expression_in_hcl(value: str, written: str) -> None:
    assert hcl_string(value) == written


def test_the_manager_reads_the_seed_as_it_was_meant() -> None:
    raw = tomllib.loads(seed_text(ADMIN, IMAGE))
    assert raw["admin"] == asdict(ADMIN)
    assert raw["images"] == [asdict(IMAGE)]
    assert raw["defaults"] == {"scaling_group": "default", "volume_host": "local:volume1"}
    Seed.model_validate(raw)


@pytest.mark.parametrize("label", ["ai.backend.resource.max.mem=", "ai.backend.resource.min.CPU=1"])
def test_an_image_with_a_limit_that_nobody_can_read_is_not_kept(label: str) -> None:
    raw = tomllib.loads(seed_text(ADMIN, IMAGE))
    name, _, value = label.partition("=")
    raw["images"][0]["labels"][name] = value
    with pytest.raises(ValidationError, match=rf"the image caravan/python:3\.11 has a label .* read: {name}='{value}'"):
        Seed.model_validate(raw)


def test_the_admin_file_is_for_its_owner_only(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    write_admin_file(layout, ADMIN)
    assert layout.admin_file.stat().st_mode & 0o777 == 0o600
    assert "export BACKEND_ENDPOINT_TYPE=api\n" in layout.admin_file.read_text()


@pytest.mark.parametrize("job", [*STORES, *SERVICES, BOOTSTRAP])
def test_every_variable_of_a_job_file_has_a_value_or_a_default(job: str) -> None:
    source = (REPOSITORY / "jobs" / "platform" / f"{job}.nomad.hcl").read_text()
    declared = {part.split('"')[0]: part.partition("\n}\n")[0] for part in source.split('variable "')[1:]}
    known = variables(Layout(root=REPOSITORY / ".caravan"))
    assert not [name for name, body in declared.items() if name not in known and "default" not in body]
