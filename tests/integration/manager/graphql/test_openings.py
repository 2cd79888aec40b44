"""Scaling groups that are open to projects and keypairs: who may open them, to whom, and who sees them then."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, true
from tests.integration.manager.graphql.made import DONE, Door, mutate

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import (
    audit_log,
    projects,
    scaling_groups,
    scaling_groups_of_domains,
    scaling_groups_of_keypairs,
    scaling_groups_of_projects,
)
from caravan_manager.people.model import Principal

GUESTS = {
    "domain": ("domain", "$who: String!"),
    "user_group": ("user_group", "$who: UUID!"),
    "keypair": ("access_key", "$who: String!"),
}
MINE = "{ scaling_groups { name } }"
USABLE = "query($id: UUID!) { accessible_scaling_groups(project_id: $id) { name is_active accelerator_quantum_size } }"
OF_PROJECTS = "{ groups { name scaling_groups } }"


def opening(kind: str, *, closes: bool = False) -> str:
    """Return the mutation that opens (or closes) one group to a guest."""
    argument, declared = GUESTS[kind]
    act = "disassociate" if closes else "associate"
    return f"""mutation({declared}, $name: String!) {{
        {act}_scaling_group_with_{kind}({argument}: $who, scaling_group: $name) {{ ok msg }} }}"""


def openings(kind: str, *, closes: bool = False) -> str:
    """Return the mutation that opens (or closes) several groups to a guest."""
    argument, declared = GUESTS[kind]
    act = "disassociate" if closes else "associate"
    return f"""mutation({declared}, $names: [String]!) {{
        {act}_scaling_groups_with_{kind}({argument}: $who, scaling_groups: $names) {{ ok msg }} }}"""


CLOSE_ALL = {
    "domain": "mutation($who: String!) { disassociate_all_scaling_groups_with_domain(domain: $who) { ok msg } }",
    "user_group": "mutation($who: UUID!) { disassociate_all_scaling_groups_with_group(user_group: $who) { ok msg } }",
}


def of_guest(kind: str) -> str:
    """Return the query for the groups that are open to a guest as such."""
    argument = GUESTS[kind][0]
    field = f"scaling_groups_for_{kind}"
    return f"query($who: String!, $active: Boolean) {{ {field}({argument}: $who, is_active: $active) {{ name }} }}"


async def names(door: Door, caller: Principal, query: str, **variables: object) -> list[str]:
    (found,) = (await door.data(caller, query, **variables)).values()
    return [group["name"] for group in found]


@pytest.fixture
async def spares(begin: Begin) -> None:
    """Two more scaling groups, open to nobody."""
    async with begin() as tx:
        for name in ("gpu", "night"):
            await tx.execute(scaling_groups.insert().values(name=name))


@pytest.fixture
async def second(begin: Begin) -> UUID:
    """Another project of the domain, with nobody in it."""
    project = uuid4()
    async with begin() as tx:
        await tx.execute(
            projects.insert().values(id=project, name="second", domain_name="default", resource_policy="default")
        )
    return project


@pytest.mark.usefixtures("spares")
async def test_a_group_is_open_to_one_project(
    door: Door, admin: Principal, user: Principal, other: Principal, seed: Any, second: UUID
) -> None:
    mine, theirs = str(seed.project), str(second)
    for _ in range(2):  # opened twice is opened
        assert await mutate(door, admin, opening("user_group"), who=mine, name="gpu") == DONE
    assert await names(door, user, USABLE, id=mine) == ["default", "gpu"]
    assert await names(door, user, MINE) == ["default", "gpu"]
    assert await names(door, other, MINE) == ["default"], "who is not in the project does not see it"
    assert await names(door, admin, USABLE, id=theirs) == ["default"], "in another project nobody uses it"
    shown = (await door.data(admin, OF_PROJECTS))["groups"]
    assert shown == [{"name": "default", "scaling_groups": ["gpu"]}, {"name": "second", "scaling_groups": []}]
    assert await names(door, admin, of_guest("user_group"), who=mine) == ["gpu"]
    assert await names(door, admin, of_guest("domain"), who="default") == ["default"]
    assert await mutate(door, admin, opening("user_group", closes=True), who=mine, name="gpu") == DONE
    assert await names(door, user, USABLE, id=mine) == ["default"]


@pytest.mark.usefixtures("spares")
async def test_a_group_is_open_to_one_keypair(door: Door, admin: Principal, user: Principal, seed: Any) -> None:
    key, project = user.access_key, str(seed.project)
    assert await mutate(door, admin, openings("keypair"), who=key, names=["gpu", None, "night"]) == DONE
    assert await names(door, user, USABLE, id=project) == ["default", "gpu", "night"]
    assert await names(door, admin, USABLE, id=project) == ["default"], "another keypair does not use it"
    assert await names(door, admin, of_guest("keypair"), who=key) == ["gpu", "night"]
    assert await names(door, admin, of_guest("keypair"), who=key, active=False) == []
    assert await mutate(door, admin, openings("keypair", closes=True), who=key, names=["night"]) == DONE
    assert await names(door, user, MINE) == ["default", "gpu"]


@pytest.mark.usefixtures("spares")
async def test_private_and_inactive_groups_stay_so(
    door: Door, admin: Principal, user: Principal, begin: Begin, seed: Any
) -> None:
    project = str(seed.project)
    assert await mutate(door, admin, openings("user_group"), who=project, names=["gpu", "night"]) == DONE
    async with begin() as tx:
        await tx.execute(scaling_groups.update().where(scaling_groups.c.name == "gpu").values(is_public=False))
        await tx.execute(scaling_groups.update().where(scaling_groups.c.name == "night").values(is_active=False))
    assert await names(door, user, USABLE, id=project) == ["default"]
    assert await names(door, admin, USABLE, id=project) == ["default", "gpu"]
    assert await names(door, admin, of_guest("user_group"), who=project, active=False) == ["night"]


async def test_a_project_that_the_caller_does_not_see_has_no_groups(
    door: Door, admin: Principal, user: Principal, second: UUID
) -> None:
    assert (await door.error(user, USABLE, id=str(second)))["message"] == "No such project."
    assert (await door.error(admin, USABLE, id=str(uuid4())))["message"] == "No such project."


@pytest.mark.usefixtures("spares")
@pytest.mark.parametrize("kind", ["domain", "user_group"])
async def test_all_are_closed_at_once(door: Door, admin: Principal, user: Principal, seed: Any, kind: str) -> None:
    who = {"domain": "default", "user_group": str(seed.project)}[kind]
    assert await mutate(door, admin, openings(kind), who=who, names=["gpu", "night"]) == DONE
    for _ in range(2):
        assert await mutate(door, admin, CLOSE_ALL[kind], who=who) == DONE
    assert await names(door, user, MINE) == ([] if kind == "domain" else ["default"])


@pytest.mark.usefixtures("spares")
@pytest.mark.parametrize(
    ("kind", "absent", "called"),
    [
        ("domain", "nowhere", "domain nowhere"),
        ("user_group", str(UUID(int=1)), f"project {UUID(int=1)}"),
        ("keypair", "AKIANOBODY", "keypair AKIANOBODY"),
    ],
)
async def test_what_is_not_there_is_refused(
    door: Door, admin: Principal, user: Principal, seed: Any, kind: str, absent: str, called: str
) -> None:
    there = {"domain": "default", "user_group": str(seed.project), "keypair": user.access_key}[kind]
    known = {"domain": "domain", "user_group": "project", "keypair": "keypair"}[kind]
    before = await names(door, user, MINE)
    answer = await mutate(door, admin, opening(kind), who=absent, name="gpu")
    assert answer["msg"] == f"there is no {called}, or one of the groups is not there"
    answer = await mutate(door, admin, openings(kind), who=there, names=["gpu", "nowhere"])
    assert answer["msg"] == f"there is no {known} {there}, or one of the groups is not there"
    assert await names(door, user, MINE) == before, "all of them or none"
    answer = await mutate(door, admin, opening(kind, closes=True), who=there, name="gpu")
    assert answer == {"ok": False, "msg": f"the {known} {there} may use none of gpu"}
    for closes in (False, True):
        for given in ([], [None], ["g"] * 1001):
            answer = await mutate(door, admin, openings(kind, closes=closes), who=there, names=given)
            assert answer == {"ok": False, "msg": "name from 1 to 1000 scaling groups"}


@pytest.mark.parametrize(("kind", "who"), [("domain", "d" * 65), ("keypair", "A" * 21)])
async def test_whoever_cannot_be_is_refused(door: Door, admin: Principal, kind: str, who: str) -> None:
    for document, given in ((opening, {"name": "gpu"}), (openings, {"names": ["gpu"]})):
        for closes in (False, True):
            answer = await mutate(door, admin, document(kind, closes=closes), who=who, **given)
            assert (answer["ok"], "cannot be" in answer["msg"]) == (False, True), answer
    assert "cannot be" in (await door.error(admin, of_guest(kind), who=who))["message"]


async def test_groups_and_nodes_that_cannot_be_are_refused(
    door: Door, admin: Principal, user: Principal, seed: Any
) -> None:
    name = "g" * 65
    there = {"domain": "default", "user_group": str(seed.project), "keypair": user.access_key}
    answers = [
        await mutate(door, admin, document(kind, closes=closes), who=who, **given)
        for kind, who in there.items()
        for document, given in ((opening, {"name": name}), (openings, {"names": ["default", name]}))
        for closes in (False, True)
    ]
    node = "mutation($id: String!, $in: ModifyAgentInput!) { modify_agent(id: $id, props: $in) { ok msg } }"
    answers.append(await mutate(door, admin, node, id=name, **{"in": {"schedulable": True}}))
    answers.append(await mutate(door, admin, node, id="i-one", **{"in": {"scaling_group": name}}))
    for act in ("delete_scaling_group(name: $name)", "modify_scaling_group(name: $name, props: {is_active: true})"):
        answers.append(await mutate(door, admin, f"mutation($name: String!) {{ {act} {{ ok msg }} }}", name=name))
    for answer in answers:
        assert (answer["ok"], "cannot be" in answer["msg"]) == (False, True), answer


@pytest.mark.usefixtures("spares")
async def test_nobody_but_a_superadmin_opens_closes_or_asks_to_whom(
    door: Door, user: Principal, domain_admin: Principal, begin: Begin, seed: Any
) -> None:
    guests = {"domain": "default", "user_group": str(seed.project), "keypair": user.access_key}
    for caller in (user, domain_admin):
        for kind, who in guests.items():
            for closes in (False, True):
                act = "disassociate" if closes else "associate"
                answer = await mutate(door, caller, opening(kind, closes=closes), who=who, name="gpu")
                assert answer == {"ok": False, "msg": f"no permission to execute {act}_scaling_group_with_{kind}"}
                answer = await mutate(door, caller, openings(kind, closes=closes), who=who, names=["gpu"])
                assert answer == {"ok": False, "msg": f"no permission to execute {act}_scaling_groups_with_{kind}"}
            if kind in CLOSE_ALL:
                assert not (await mutate(door, caller, CLOSE_ALL[kind], who=who))["ok"]
            assert "superadmin" in (await door.error(caller, of_guest(kind), who=who))["message"]
    async with begin() as tx:
        assert len((await tx.execute(select(scaling_groups_of_domains))).all()) == 1
        for table in (scaling_groups_of_projects, scaling_groups_of_keypairs):
            assert (await tx.execute(select(table))).all() == []


@pytest.mark.usefixtures("spares")
async def test_openings_are_in_the_audit_log(
    door: Door, admin: Principal, user: Principal, begin: Begin, seed: Any
) -> None:
    await mutate(door, admin, opening("user_group"), who=str(seed.project), name="gpu")
    await mutate(door, admin, CLOSE_ALL["user_group"], who=str(seed.project))
    await mutate(door, admin, opening("keypair"), who=user.access_key, name="gpu")
    columns = (audit_log.c.action, audit_log.c.target_type, audit_log.c.target, audit_log.c.facts)
    async with begin() as tx:
        lines = [tuple(line) for line in await tx.execute(select(*columns).order_by(audit_log.c.id))]
    assert lines == [
        ("project.open-scaling-groups", "project", str(seed.project), {"scaling_groups": ["gpu"]}),
        ("project.close-scaling-groups", "project", str(seed.project), {"scaling_groups": None}),
        ("keypair.open-scaling-groups", "keypair", user.access_key, {"scaling_groups": ["gpu"]}),
    ]


async def test_groups_of_many_projects_cost_one_query(
    door: Door, admin: Principal, begin: Begin, statements: list[str]
) -> None:
    async with begin() as tx:
        for number in range(10):
            made = {"id": uuid4(), "name": f"project{number}", "domain_name": "default", "resource_policy": "default"}
            await tx.execute(projects.insert().values(**made))
    await door.data(admin, OF_PROJECTS)
    statements.clear()
    await door.data(admin, OF_PROJECTS)
    assert len(statements) <= 2


async def test_of_many_projects_with_many_groups_none_is_left_out(door: Door, admin: Principal, begin: Begin) -> None:
    async with begin() as tx:
        await tx.execute(scaling_groups.insert(), [{"name": f"g{number:03}"} for number in range(101)])
        made = {"domain_name": "default", "resource_policy": "default"}
        await tx.execute(projects.insert(), [{"id": uuid4(), "name": f"p{n}"} | made for n in range(100)])
        pairs = select(scaling_groups.c.name, projects.c.id).join_from(scaling_groups, projects, true())
        chosen = pairs.where(scaling_groups.c.name.like("g%"))
        await tx.execute(scaling_groups_of_projects.insert().from_select(["scaling_group", "project_id"], chosen))
    shown = (await door.data(admin, OF_PROJECTS))["groups"]
    assert [len(project["scaling_groups"]) for project in shown] == [101] * 101
    assert shown[0]["scaling_groups"] == [f"g{number:03}" for number in range(101)]


async def test_what_is_deleted_is_open_to_nobody(door: Door, admin: Principal, begin: Begin, seed: Any) -> None:
    async with begin() as tx:
        await tx.execute(scaling_groups.insert().values(name="gpu"))
    await mutate(door, admin, opening("user_group"), who=str(seed.project), name="gpu")
    answer = await mutate(door, admin, 'mutation { delete_scaling_group(name: "gpu") { ok msg } }')
    assert answer == DONE
    assert (await door.data(admin, OF_PROJECTS))["groups"][0]["scaling_groups"] == []
