"""Faults in RTL that a project declares (``[qualify] rtl``): texts of its sources, and what they become.

The generic operators know a language and no design. What goes wrong in a certain one, such as a tie that is rounded the
other way or a row of the neighbour, its team knows, and says here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from etchproof.errors import InputError
from etchproof.schemata.faults import RtlFault, Source
from etchproof.schemata.holders import Edit


@dataclass(frozen=True, slots=True)
class RtlEdit:
    """A slip in RTL.

    Attributes:
        file: the source, by its name in the fabric; where the chip has no such source the slip does not apply.
        what: what goes wrong, in a few words: "tie down". It is the fault's operator.
        was: a text that stands in the source exactly once, in a function, a process or a continuous assignment.
        becomes: what stands there instead.
    """

    file: str
    what: str
    was: str
    becomes: str


def planted(source: Source, edits: Iterable[RtlEdit]) -> Iterator[RtlFault]:
    """The faults of one source, in the order of the edits.

    Raises:
        InputError: a text does not stand in the source exactly once, not where a circuit computes, or becomes the same.
    """
    for edit in edits:
        if edit.file == source.name:
            yield _planted(source, edit)


def _planted(source: Source, edit: RtlEdit) -> RtlFault:
    count = source.text.count(edit.was)
    if count != 1:
        raise InputError(
            f"{edit.was!r} stands there {count} times, expected once", source=edit.file, key="qualify.rtl"
        )
    if edit.was == edit.becomes:
        raise InputError(f"{edit.was!r} becomes the same", source=edit.file, key="qualify.rtl")
    start = len(source.text[: source.text.index(edit.was)].encode())
    end = start + len(edit.was.encode())
    place = source.around(start, end)
    if place is None:
        raise InputError(
            f"{edit.was!r} is in no function, process or assignment", source=edit.file, key="qualify.rtl"
        )
    module, holder = place
    before = source.text[: source.text.index(edit.was)]
    return RtlFault(
        file=source.name,
        line=before.count("\n") + 1,
        column=len(before) - before.rfind("\n"),
        module=module,
        operator=edit.what,
        was=edit.was,
        edit=Edit(start, end, edit.becomes),
        holder=holder.start,
        occurrence=0,
        is_whole=True,
    )
