"""How an entry about toggles that cannot be is written: bits that no value has, elements that nothing fills."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from etchproof.coverage.exclusions import SignalExclusion


def bits_from(first: int, width: int) -> tuple[int, ...]:
    return tuple(range(first, width))


def bits_above(largest: int, width: int) -> tuple[int, ...]:
    """The bits of an unsigned vector that hold 0 in every value up to the largest."""
    return bits_from(largest.bit_length(), width)


def unreachable(
    file: str,
    signals: str,
    reason: str,
    *,
    bits: tuple[int, ...] = (),
    filled: Iterable[tuple[int, int]] = (),
) -> Iterator[SignalExclusion]:
    """One entry, or none where it would be about no bit and no element.

    Args:
        signals: names, with a space between them.
    """
    shapes = tuple(sorted(set(filled)))
    if bits or shapes:
        yield SignalExclusion(
            file=file,
            signals=tuple(signals.split()),
            bits=bits or None,
            filled=shapes or None,
            tag="unreachable",
            reason=reason,
        )


def never_set(values: Iterable[int], width: int = 32) -> tuple[int, ...]:
    """The bits that no value has."""
    held = 0
    for value in values:
        held |= value
    return tuple(bit for bit in range(width) if not held >> bit & 1)


def never_falls(file: str, signals: str, reason: str, bit: int) -> SignalExclusion:
    return SignalExclusion(
        file=file,
        signals=tuple(signals.split()),
        bits=(bit,),
        edge="fall",
        tag="unreachable",
        reason=f"{reason}: once set it stays",
    )


def only_values(
    file: str, signal: str, reason: str, values: Sequence[int], width: int
) -> Iterator[SignalExclusion]:
    """A register that holds only these values once it holds any."""
    yield from unreachable(file, signal, reason, bits=never_set(values, width))
    for bit in never_set([~value for value in values], width):
        yield never_falls(file, signal, reason, bit)
