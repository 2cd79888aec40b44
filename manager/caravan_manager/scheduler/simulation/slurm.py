"""Reads what Slurm's `sacct --parsable2` prints: jobs, in any choice and order of columns with the needed ones. Pure.

`sacct -a -X -P -o JobID,User,Account,Submit,Start,End,Timelimit,Priority,NNodes,ReqTRES,AllocTRES,State` says all that
is read. Steps are left out, and so are jobs that never started: nobody knows how long they would have run.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from caravan_common.errors import InvalidParametersError
from caravan_manager.scheduler.simulation.trace import PRIORITY, Arrival, Trace, imported

SLOT = "cuda.device"
"""What a `gres/gpu` is, unless the caller says otherwise."""
HIGHEST = 100
"""Slurm's priorities are mostly large numbers that change while a job waits; only one up to this is taken as a band."""
_NEEDED = ("JobID", "Submit", "Start")
_NONE = frozenset({"", "Unknown", "None", "N/A", "Partition_Limit", "UNLIMITED", "INVALID"})
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_TIME = re.compile(r"^(?:(?P<d>\d+)-)?(?:(?:(?P<h>\d+):)?(?P<m>\d+):)?(?P<s>\d+)(?:\.\d+)?$")


def is_sacct(head: str) -> bool:
    """Say whether a file with this first line is a list of jobs."""
    return set(_NEEDED) <= set(head.split("|"))


def read_jobs(lines: Iterable[str], slot: str = SLOT) -> Trace:
    """Read a list of jobs. Raises InvalidParametersError when a needed column is missing."""
    rows = (line.rstrip("\r\n").split("|") for line in lines)
    columns = next(rows, list[str]())
    if missing := [name for name in (*_NEEDED, "End") if name not in columns]:
        raise InvalidParametersError(f"the list of jobs has no column {missing[0]}")
    found: list[Arrival] = []
    left_out = 0
    for row in rows:
        job = dict(zip(columns, row, strict=False))
        if not job.get("JobID") or "." in job["JobID"]:
            continue
        arrival = _arrival(len(found) + 1, job, slot)
        if arrival is None:
            left_out += 1
        else:
            found.append(arrival)
    return Trace(tuple(found), left_out=left_out)


def _arrival(number: int, job: dict[str, str], slot: str) -> Arrival | None:
    came, began, ended = (_moment(job.get(name, "")) for name in ("Submit", "Start", "End"))
    wanted = _slots(job.get("ReqTRES") or "", slot) or _slots(job.get("AllocTRES") or "", slot)
    if came is None or began is None or not wanted:
        return None
    kernels = max(1, int(wanted.pop("node", Decimal(job.get("NNodes") or 1))))
    session = imported(
        number,
        job["JobID"],
        came,
        {name: _part(amount, kernels) for name, amount in wanted.items()},
        user=job.get("User") or "",
        account=job.get("Account") or "",
        kernels=kernels,
        limit=_length(job.get("Timelimit") or ""),
        priority=_priority(job.get("Priority") or ""),
    )
    return Arrival(session, None if ended is None else max(timedelta(), ended - began))


def _slots(tres: str, gpu: str) -> dict[str, Decimal]:
    """Return what a list such as ``cpu=4,mem=16G,node=1,gres/gpu=2`` has of what counts here, and the nodes."""
    listed = {name: _amount(text) for name, _, text in (part.partition("=") for part in tres.split(","))}
    gpus = listed.get("gres/gpu") or sum(n or 0 for name, n in listed.items() if name.startswith("gres/gpu:"))
    known = {"cpu": listed.get("cpu"), "mem": listed.get("mem"), "node": listed.get("node"), gpu: Decimal(gpus)}
    return {slot: amount for slot, amount in known.items() if amount}


def _amount(text: str) -> Decimal | None:
    unit = text[-1:].upper() if text[-1:].isalpha() else ""
    try:
        return Decimal(text[: len(text) - len(unit)]) * _UNITS[unit]
    except (InvalidOperation, KeyError):
        return None


def _part(amount: Decimal, kernels: int) -> Decimal:
    """Return what one of equal kernels has: whole cpus, bytes and devices."""
    return Decimal(-(-int(amount) // kernels))


def _moment(text: str) -> datetime | None:
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _length(text: str) -> timedelta | None:
    matched = None if text in _NONE else _TIME.match(text)
    if matched is None:
        return None
    d, h, m, s = (int(matched[unit] or 0) for unit in "dhms")
    return timedelta(days=d, hours=h, minutes=m, seconds=s) or None


def _priority(text: str) -> int:
    return int(text) if text.isdigit() and int(text) <= HIGHEST else PRIORITY
