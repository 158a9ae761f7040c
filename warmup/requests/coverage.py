"""Which workers have answered: a warm deployment is one whose every worker is warm.

Pure. Workers are told apart by the instance ids that Dynamo returns with an answer. Which workers
there should be comes from the caller (names from its plan) or from what is registered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

PREFILL, DECODE, AGGREGATED = "prefill", "decode", "agg"


@dataclass(frozen=True)
class Worker:
    """One worker group as a request meets it.

    ``role`` is prefill, decode or agg. ``instance_id`` is the id an answer names (an unsigned
    64-bit number). ``address`` is ``IP:PORT`` of its request plane, by which a planned worker is
    found among the registered ones while its id is not known.
    """

    role: str
    name: str
    instance_id: int | None = None
    address: str | None = None


@dataclass(frozen=True)
class Instance:
    """A registered worker, as the frontend lists it."""

    instance_id: int
    component: str
    address: str | None = None


@dataclass(frozen=True)
class Steer:
    """Which workers a request asks for; None leaves the choice to the router."""

    prefill_id: int | None = None
    decode_id: int | None = None


ANY = Steer()


@dataclass(frozen=True)
class Roster:
    """Who is expected, who of them is registered, and who is there besides."""

    expected: tuple[Worker, ...]
    extra: tuple[Worker, ...] = ()

    @property
    def unregistered(self) -> tuple[Worker, ...]:
        return tuple(w for w in self.expected if w.instance_id is None)


def make_roster(expected: Sequence[Worker] | None, instances: Sequence[Instance]) -> Roster:
    """Put names and instance ids together.

    An expected worker is matched by its id, else by its address, else (when it has neither) to
    any registered worker of its role that is left. Nothing expected: whoever is registered is.
    """
    found = _with_roles(instances)
    if expected is None:
        return Roster(tuple(found))
    left = {w.instance_id: w for w in found}
    resolved: dict[int, Worker] = {}
    for match_by in ("instance_id", "address", "role"):
        for index, worker in enumerate(expected):
            if index in resolved:
                continue
            hit = next((w for w in left.values() if _matches(worker, w, match_by)), None)
            if hit is not None:
                del left[hit.instance_id]
                resolved[index] = replace(worker, instance_id=hit.instance_id, address=worker.address or hit.address)
    # An id that is not registered is dropped: a request steered to it would only fail.
    merged = tuple(resolved.get(i, replace(w, instance_id=None) if instances else w) for i, w in enumerate(expected))
    return Roster(merged, tuple(left.values()))


def _matches(expected: Worker, found: Worker, by: str) -> bool:
    if by == "instance_id":
        return expected.instance_id is not None and expected.instance_id == found.instance_id
    if by == "address":
        return expected.address is not None and expected.address == found.address
    # A restarted worker without an address comes back under another id: still the same role.
    return expected.address is None and expected.role == found.role


def _with_roles(instances: Sequence[Instance]) -> list[Worker]:
    """Name the registered workers. A decode worker's component is "backend", as is the only kind
    of an aggregated deployment: which of the two it is shows in whether a prefill is there."""
    disaggregated = any(i.component == PREFILL for i in instances)
    workers = []
    for i in sorted(instances, key=lambda i: (i.component, i.address or "", i.instance_id)):
        if i.component == PREFILL:
            role = PREFILL
        else:
            role = DECODE if disaggregated else AGGREGATED
        where = f"@{i.address}" if i.address else f":{i.instance_id:x}"
        workers.append(Worker(role, f"{role}{where}", i.instance_id, i.address))
    return sorted(workers, key=lambda w: (w.role != PREFILL, w.name))


class Coverage:
    """Who answered at which size. Sizes are known by their key."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._names: dict[int, Worker] = {}
        self._rounds: dict[tuple[str, str], int] = {}
        self._told: bool | None = None
        self.update(roster)

    @property
    def roster(self) -> Roster:
        return self._roster

    @property
    def told_apart(self) -> bool | None:
        """Whether answers name their workers; None before the first answer."""
        return self._told

    def update(self, roster: Roster) -> None:
        """Take a newer list of who is registered. What was met stays met, by name."""
        self._roster = roster
        for worker in (*roster.extra, *roster.expected):
            if worker.instance_id is not None:
                self._names[worker.instance_id] = worker

    def workers_of(self, prefill_id: int | None, decode_id: int | None) -> tuple[Worker, ...]:
        """The worker or the two workers behind an answer; none when it names none."""
        if prefill_id is None and decode_id is None:
            return ()
        if prefill_id == decode_id:
            assert prefill_id is not None
            return (self._worker(AGGREGATED, prefill_id),)
        pairs = ((PREFILL, prefill_id), (DECODE, decode_id))
        return tuple(self._worker(role, number) for role, number in pairs if number is not None)

    def met(self, size: str, answers: Iterable[tuple[int | None, int | None]]) -> None:
        """Count a finished round of a size, given the ids of each whole answer in it."""
        names: set[str] = set()
        for prefill_id, decode_id in answers:
            workers = self.workers_of(prefill_id, decode_id)
            self._told = bool(workers) or bool(self._told)
            names |= {w.name for w in workers}
        for name in names:
            self._rounds[size, name] = self._rounds.get((size, name), 0) + 1

    def rounds(self, size: str, worker: Worker) -> int:
        """In how many rounds of a size a worker has answered."""
        return self._rounds.get((size, worker.name), 0)

    def missing(self, size: str, rounds: int = 1) -> tuple[Worker, ...]:
        """Expected workers met in fewer rounds of a size than asked. Empty while answers do not
        name their workers: then nobody can be called missing."""
        if not self._told:
            return ()
        return tuple(w for w in self._roster.expected if self.rounds(size, w) < rounds)

    def steer(self, size: str, count: int, rounds: int = 2) -> tuple[Steer, ...]:
        """Wishes for the next round's ``count`` requests.

        Each missing worker is asked for as often as an even spread would give it, so that a round
        that looks for one worker still loads all of them. Which routers honour a wish is theirs
        to say: Dynamo's KV and direct modes both, its others the prefill worker only.
        """
        missing = [w for w in self.missing(size, rounds) if w.instance_id is not None]
        wishes: dict[str, list[int | None]] = {}
        for role in (PREFILL, DECODE):
            roles = (PREFILL,) if role == PREFILL else (DECODE, AGGREGATED)
            peers = sum(w.role in roles for w in self._roster.expected)
            share = max(1, count // max(1, peers))
            ids = [w.instance_id for w in missing if w.role in roles for _ in range(share)]
            wishes[role] = [*ids, *[None] * count][:count]
        return tuple(Steer(p, d) for p, d in zip(wishes[PREFILL], wishes[DECODE], strict=True))

    def _worker(self, role: str, number: int) -> Worker:
        known = self._names.get(number)
        if known is None:
            known = self._names[number] = Worker(role, f"{role}:{number:x}", number)
        return known
