"""Records that a run leaves as JSON (``item.json``, ``signoff.json``), read back: strictly, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from etchproof.errors import InputError
from etchproof.files.json_file import parse_json
from etchproof.files.regular import read_text
from etchproof.files.validation import input_error

# pydantic takes 300 bytes for an empty list and 700 for a value that does not fit; files of a few megabytes would
# fill a gigabyte. The largest records of real runs have a tenth of this.
_LIMIT_BYTES: Final = 32 << 20
_LIMIT_VALUES: Final = 4_000_000
_LIMIT_CONTAINERS: Final = 500_000
_LISTED_ERRORS: Final = 1000

_Record = TypeVar("_Record", bound=BaseModel)


def read_json_record(path: Path, record: type[_Record], *, strict: bool | None = None) -> _Record:
    """A UTF-8 JSON file as a record.

    Args:
        record: the class of the record.
        strict: whether a value must have its field's very type; None leaves that to the class.

    Raises:
        InputError: the file is missing, unreadable, too large, no strict JSON, or no such record; the first key that
            does not fit is named.
    """
    return parse_json_record(read_text(path, _LIMIT_BYTES), path, record, strict=strict)


def parse_json_record(
    text: str, source: Path, record: type[_Record], *, strict: bool | None = None
) -> _Record:
    """A JSON text as a record; arguments and errors as of ``read_json_record``.

    Args:
        source: the file that holds the text, for messages.
    """
    if text.count(",") > _LIMIT_VALUES or text.count("[") + text.count("{") > _LIMIT_CONTAINERS:
        raise InputError("holds more values than any record does", source=source)
    parse_json(text, source)  # refuses what pydantic's own reader lets pass
    try:
        return record.model_validate_json(text, strict=strict)
    except ValidationError as error:
        if error.error_count() > _LISTED_ERRORS:
            raise InputError(f"does not fit in {error.error_count():,} places", source=source) from None
        raise input_error(error, source) from None
