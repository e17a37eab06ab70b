"""The diagnosis in the ``junit.xml`` of a regression: pytest has written it before any failure was diagnosed."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from etchproof.diagnose.triage_result import Triage
from etchproof.files.atomic import write_atomically
from etchproof.page.html import legible


def tell_junit(file: Path, found: Triage) -> None:
    """Put the diagnosis of each failure before its message.

    Raises:
        InputError: the file cannot be written.
        OSError: it cannot be read.
        xml.etree.ElementTree.ParseError: it is none that pytest writes.
    """
    tree = ET.parse(file)
    for case in tree.iter("testcase"):
        line = found.line(case.get("name", ""))
        if not line:
            continue
        for failure in (*case.iter("failure"), *case.iter("error")):
            failure.set("message", f"{line}; {failure.get('message', '')}")
            failure.text = f"diagnosis: {line}\n{failure.text or ''}"
    text = ET.tostring(tree.getroot(), encoding="unicode")
    write_atomically(file, f"<?xml version='1.0' encoding='utf-8'?>\n{legible(text)}")
