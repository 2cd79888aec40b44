"""What administrators change of domains, projects and keypairs. Each change is in the audit log."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from caravan_common.errors import CaravanError, ConflictError, ForbiddenError
from caravan_manager import audit
from caravan_manager.db.engine import Begin
from caravan_manager.people import repository
from caravan_manager.people.model import (
    Domain,
    DomainNotFoundError,
    KeypairNotFoundError,
    Principal,
    Project,
    ProjectNotFoundError,
)
from caravan_manager.people.remembered import RememberedCredentials
from caravan_manager.people.tenants import (
    check_access_key,
    check_domain_name,
    checked_domain,
    checked_keypair,
    checked_project,
)
from caravan_manager.quotas.policies import PolicyNotFoundError


class PeopleAdministration:
    """Change quotas and rights of domains, projects and keypairs; no change ends what runs.

    They hold at once, but who may come in is remembered by every process (`people/remembered.py`): other processes
    than this one believe what they remember of a domain or keypair until its lifetime is over.
    """

    def __init__(self, begin: Begin, remembered: RememberedCredentials) -> None:
        self._begin = begin
        self._remembered = remembered

    async def change_domain(self, principal: Principal, name: str, given: Mapping[str, object]) -> Domain:
        """Change what is given of a domain and return it. Only for superadmins.

        Raises DomainNotFoundError, InvalidParametersError, and ConflictError for who would shut themselves out.
        """
        principal.must_be_superadmin()
        check_domain_name(name)
        if given.get("is_active") is False and name == principal.domain_name:
            raise ConflictError(f"nobody of the domain {name} could come in any more, you neither")
        async with self._begin() as tx:
            present = next(iter(await repository.list_domains(tx, name=name)), None)
            if present is None:
                raise DomainNotFoundError(f"there is no domain {name}")
            values = checked_domain(given, present)
            await repository.change_domain(tx, name, values)
            await audit.record(tx, principal, "domain.change", "domain", name, values)
            (changed,) = await repository.list_domains(tx, name=name)
        self._remembered.forget_all()
        return changed

    async def change_project(self, principal: Principal, project: UUID, given: Mapping[str, object]) -> Project:
        """Change what is given of a project and return it. For superadmins and the administrators of its domain.

        Storage hosts and the resource policy are for superadmins only.

        Raises ForbiddenError, SuperadminsOnlyError, ProjectNotFoundError, InvalidParametersError, or ConflictError
        for a name that is taken.
        """
        if not principal.is_admin:
            raise ForbiddenError("only administrators change projects")
        domain = None if principal.is_superadmin else principal.domain_name
        try:
            async with self._begin() as tx:
                present = await repository.lock_project(tx, project, domain)
                if present is None:
                    raise _unknown_project(principal, project)
                values = checked_project(principal, given, present)
                await repository.change_project(tx, project, values)
                await audit.record(tx, principal, "project.change", "project", str(project), values)
                (changed,) = await repository.list_projects(tx, domain=domain, project=project)
        except IntegrityError as err:
            message = "the name is another project's of the domain, or there is no such project resource policy"
            raise ConflictError(message) from err
        return changed

    async def change_keypair(self, principal: Principal, access_key: str, given: Mapping[str, object]) -> None:
        """Change what is given of a keypair. Only for superadmins.

        Raises KeypairNotFoundError, PolicyNotFoundError, InvalidParametersError, and ConflictError for who would
        shut themselves out.
        """
        principal.must_be_superadmin()
        check_access_key(access_key)
        if given.get("is_active") is False and access_key == principal.access_key:
            raise ConflictError("this is the keypair that you came in with; use another one to deactivate it")
        try:
            async with self._begin() as tx:
                present = await repository.find_keypair(tx, access_key)
                if present is None:
                    raise KeypairNotFoundError(f"there is no keypair {access_key}")
                values = checked_keypair(given, present)
                await repository.change_keypair(tx, access_key, values)
                await audit.record(tx, principal, "keypair.change", "keypair", access_key, values)
        except IntegrityError as err:
            raise PolicyNotFoundError(f"there is no keypair resource policy {given.get('resource_policy')}") from err
        self._remembered.forget_all()


def _unknown_project(principal: Principal, project: UUID) -> CaravanError:
    """Return what a caller is told who named no project that is theirs: only superadmins learn that there is none."""
    if principal.is_superadmin:
        return ProjectNotFoundError(f"there is no project {project}")
    return ForbiddenError("the project is not of your domain")
