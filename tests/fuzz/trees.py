"""Structural mutations: a value of JSON, YAML, Hjson or TOML is changed as a tree, and written as text again.

All four formats understand the flow form that ``write`` gives, but for the few tokens that only one of them has.
"""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Callable
from typing import Any, Final, Literal

Form = Literal["json", "yaml", "hjson", "toml"]


class Raw(str):
    """Text that is written as it stands."""


class Pairs(list[tuple[Any, Any]]):
    """An object that may hold a key twice, or a key that is no text."""


STRINGS: Final = (
    *("", " ", "a", "x" * 300, "x" * 70_000, "a\0b", "a\nb", "\u2028", "\x1b[2J", "\u202e", "\ufeff"),
    *("../../../etc/passwd", "/etc/passwd", "/dev/zero", "/dev/stdin", "a/" * 150, "..", ".", "/", "~"),
    *("nan", "inf", "-0", "1e400", "9" * 5000, "true", "null", "@model", "{0.__class__}", "%s%n", "${HOME}"),
    *(
        "(a+)+$",
        "(",
        "[",
        "*",
        "\\",
        "(?P<x>a)(?P<x>b)",
        "((((a?){99}){99}){99}){99}",
        "(.*)*" * 40,
        "(" * 3000,
    ),
    *("f" * 64, "2026-02-30", "0000-00-00", "9999999-01-01", "\ud7ff", "\U0010ffff", "İ", "²"),
)
NUMBERS: Final = (
    *(0, 1, -1, 2, 3, 7, 255, 256, 2**15, 2**24, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64),
    *(-(2**31), -(2**63) - 1, 10**30, 10**400, 0.0, -0.0, 0.5, 1e-320, 1e300, -1e300),
)
RAWS: Final = (
    *(Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("1e999"), Raw("-1e999"), Raw("9" * 5000)),
    *(Raw("1" + "0" * 400), Raw("-" + "8" * 20_000), Raw("0." + "3" * 6000), Raw("1e-99999"), Raw("01")),
    *(
        Raw('"\\ud800"'),
        Raw('"\\udc00x"'),
        Raw('"\\u0000"'),
        Raw('"\\x"'),
        Raw("'"),
        Raw('"'),
        Raw("undefined"),
    ),
    *(Raw("[" * 450 + "]" * 450), Raw("[" * 100_000), Raw('{"a":' * 450 + "1" + "}" * 450)),
    *(Raw('{"a":' * 30_000), Raw("[[]" + ",[]" * 30_000 + "]"), Raw("{" * 2000 + "}" * 2000)),
)
OF_A_FORM: Final[dict[Form, tuple[Raw, ...]]] = {
    "json": (),
    "yaml": tuple(
        map(
            Raw,
            (
                *("!!timestamp x", "!!timestamp 2026-99-99", "!!bool x", "!!int ''", "!!int x", "!!float x"),
                *("!!int [1]", "!!float {}", "!!null x", "!!binary '*'", "!!binary [a]", "!!set [a]"),
                *("!!omap 1", "!!omap [{a: 1, b: 2}]", "!!pairs x", "!!map x", "!!seq x", "!!str [a]"),
                *("!!python/object:os.system x", "!!python/object/apply:os.system ['true']", "!unknown x"),
                *("!!python/name:os.system ''", "&a [*a]", "&a {k: *a}", "{? *a : 1}", "*missing", "&a &b 1"),
                *("{? [a] : 1}", "{? {a: 1} : 1}", "{? &a [*a] : 1}", "{<<: 1}", "{<<: [1]}", "{<<: {a: 1}}"),
                *("{<<: &m {<<: *m}}", "{? !!set {a} : 1}", "{1: 2}", "{null: 1}", "{true: 1}", "{1.5: 1}"),
                *(
                    "2026-01-01",
                    "2026-01-01 25:61:61",
                    "2026-13-01",
                    "0000-00-00",
                    "1:2:3:4:99999999",
                    ".inf",
                ),
                *(
                    ".nan",
                    "0o777",
                    "0b2",
                    "0x",
                    "1_000",
                    "190:20:30",
                    "=",
                    "? ",
                    "- ",
                    "|",
                    ">",
                    "@",
                    "`",
                    "%",
                ),
                "[&b0 [x,x,x,x,x,x,x,x,x]"
                + "".join(f", &b{n} [{','.join([f'*b{n - 1}'] * 9)}]" for n in range(1, 12))
                + "]",
                "{&k a: " * 300 + "1" + "}" * 300,
            ),
        )
    ),
    "hjson": tuple(
        map(Raw, ("'''", "'''a", "#", "/*", "//", "a: b", "true false", "0x1", "-", "1.2.3", "\\"))
    ),
    "toml": tuple(
        map(
            Raw,
            (
                *("2026-13-01", "1979-05-27T07:32:00Z", "0x", "0xFFFFFFFFFFFFFFFFFFFF", "1_", "inf", "-nan"),
                *(
                    "'''",
                    '"""',
                    "{a=1, a=2}",
                    "{a.b=1, a.b.c=2}",
                    "[1, 'a']",
                    "07:32:99",
                    "+99999999999999999999",
                ),
                *("{" + "a={" * 450 + "}" * 451, "a." * 5000 + "b"),
            ),
        )
    ),
}


def parse(form: Form, text: str) -> Any:
    """The seed's own tree."""
    if form == "json":
        return json.loads(text)
    if form == "toml":
        return tomllib.loads(text)
    if form == "yaml":
        import yaml

        return yaml.safe_load(text)
    import hjson

    return hjson.loads(text, object_pairs_hook=dict)


def write(form: Form, tree: Any) -> str:
    """A tree as text: the flow form, and for TOML a line for each key."""
    if form != "toml" or not isinstance(tree, dict | Pairs):
        return _flow(tree, " = " if form == "toml" else ": ")
    return "\n".join(f"{_flow(key, ' = ')} = {_flow(value, ' = ')}" for key, value in _items(tree)) + "\n"


def _items(tree: Any) -> list[tuple[Any, Any]]:
    return list(tree) if isinstance(tree, Pairs) else list(tree.items())


def _flow(tree: Any, between: str) -> str:
    if isinstance(tree, Raw):
        return tree
    if isinstance(tree, dict | Pairs):
        pairs = [f"{_flow(key, between)}{between}{_flow(value, between)}" for key, value in _items(tree)]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(tree, list | tuple):
        return "[" + ", ".join(_flow(value, between) for value in tree) + "]"
    if isinstance(tree, int) and not isinstance(tree, bool):
        return hex(tree) if abs(tree) > 10**4000 else str(tree)
    return json.dumps(tree, default=str)


def mutated(rng: random.Random, form: Form, text: str, more: tuple[Any, ...] = ()) -> str:
    """The text's tree after one to three changes, written again.

    Args:
        more: values that this kind of file is sensitive to.
    """
    tree = parse(form, text)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        tree = _changed(rng, form, tree, more)
    return write(form, tree)


def _changed(rng: random.Random, form: Form, tree: Any, more: tuple[Any, ...]) -> Any:
    places = list(_places(tree, ()))
    place = rng.choice(places)
    change = rng.choice(_CHANGES)
    return _at(tree, place, lambda value: change(rng, form, value, more))


def _places(tree: Any, here: tuple[int, ...]) -> Any:
    """Every value's path, as numbers of children."""
    yield here
    for number, child in enumerate(_children(tree)):
        yield from _places(child, (*here, number))


def _children(tree: Any) -> list[Any]:
    if isinstance(tree, dict | Pairs):
        return [value for _, value in _items(tree)]
    return list(tree) if isinstance(tree, list | tuple) else []


def _at(tree: Any, place: tuple[int, ...], change: Callable[[Any], Any]) -> Any:
    """The tree with the value at ``place`` changed; what is on the way is copied."""
    if not place:
        return change(tree)
    if isinstance(tree, dict | Pairs):
        pairs = Pairs(_items(tree))
        key, value = pairs[place[0]]
        pairs[place[0]] = (key, _at(value, place[1:], change))
        return pairs
    values = list(tree)
    values[place[0]] = _at(values[place[0]], place[1:], change)
    return values


def _value(rng: random.Random, form: Form, more: tuple[Any, ...]) -> Any:
    pools: list[tuple[Any, ...]] = [
        STRINGS,
        NUMBERS,
        RAWS,
        (None, True, False, [], {}, [[]], [None], {"": {}}),
    ]
    pools += [OF_A_FORM[form]] * 3 if OF_A_FORM[form] else []
    pools += [more] * 3 if more else []
    return rng.choice(rng.choice(pools))


def _replace(rng: random.Random, form: Form, value: Any, more: tuple[Any, ...]) -> Any:
    return _value(rng, form, more)


def _wrap(rng: random.Random, form: Form, value: Any, more: tuple[Any, ...]) -> Any:
    return rng.choice(([value], {"a": value}, [value, value], [value] * 1000))


def _nudge(rng: random.Random, form: Form, value: Any, more: tuple[Any, ...]) -> Any:
    """A near value of the same type, which passes the first checks."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice((-1, 1, 2, 64, -value, 10 * value, -2 * value, 2**31, 2**62))
    if isinstance(value, float):
        return rng.choice((-value, value * 1e300, value / 1e300, value + 1))
    if isinstance(value, str) and not isinstance(value, Raw):
        odd = rng.choice(("", "é", "\0", "\n", "/", "../", "\u2028", "\x1b", " ", "a" * 300, ".", "*", "("))
        cut = rng.randint(0, len(value))
        return rng.choice(
            (value[:cut] + odd + value[cut:], value[:cut], value + value, value.upper(), odd + value)
        )
    return _value(rng, form, more)


def _keys(rng: random.Random, form: Form, value: Any, more: tuple[Any, ...]) -> Any:
    """Of an object: a key dropped, doubled, renamed, added or moved. Of a list: an entry likewise."""
    if isinstance(value, dict | Pairs):
        pairs = Pairs(_items(value))
        number = rng.randrange(len(pairs)) if pairs else 0
        match rng.randrange(5) if pairs else 4:
            case 0:
                del pairs[number]
            case 1:
                pairs.insert(rng.randint(0, len(pairs)), (pairs[number][0], _value(rng, form, more)))
            case 2:
                pairs[number] = (_key(rng, form, pairs[number][0]), pairs[number][1])
            case 3:
                rng.shuffle(pairs)
            case _:
                pairs.append((_key(rng, form, "a"), _value(rng, form, more)))
        return pairs
    if isinstance(value, list | tuple):
        values = list(value)
        number = rng.randrange(len(values)) if values else 0
        match rng.randrange(4) if values else 3:
            case 0:
                del values[number]
            case 1:
                values.insert(number, values[number])
            case 2:
                values *= rng.choice((2, 50))
            case _:
                values.append(_value(rng, form, more))
        return values
    return _value(rng, form, more)


def _key(rng: random.Random, form: Form, key: Any) -> Any:
    odd = [*STRINGS, f"{key}x", f" {key}", str(key).upper(), "__proto__", "self", "model_config", "0"]
    return rng.choice([*odd, *OF_A_FORM[form]]) if form == "yaml" else rng.choice(odd)


_CHANGES: Final = (_replace, _replace, _nudge, _nudge, _keys, _keys, _wrap)
