"""Ten megabytes of every form: taken or refused, in bounded time."""

from __future__ import annotations

import base64
import time

import pytest

from agent.report import Report
from agent.secret import Secret
from agent.user_data.gather import Source, gather

from .test_parts import message, packed

SIZE = 10 * 1024 * 1024
TEN = base64.encodebytes(b"#!/bin/sh\n" + b"x" * (SIZE * 3 // 4))
DOCUMENTS = {
    "script": b"#!/bin/sh\n" + b"# padding\n" * (SIZE // 10),
    "literal": b"#cloud-config\na: |\n" + b"    line of a file\n" * (SIZE // 19),
    "items": b"#cloud-config\na:\n" + b"- x\n" * (SIZE // 4),
    "flow": b"#cloud-config\na: [" + b"x," * (SIZE // 2) + b"]",
    "deep": b"#cloud-config\na: " + b"[" * SIZE,
    "comments": b"#cloud-config\n" + b"#\n" * (SIZE // 2),
    "mime": message(("Content-Transfer-Encoding: base64", TEN)),
    "headers": b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n"
    + b"X: y\n" * (SIZE // 5),
    "lines": message(("X: y", b"#!/bin/sh\n" + b"\n" * SIZE)),
    "gzip": packed(b"#!/bin/sh\n" + b"x" * SIZE),
    "include": b"#include\n" + b"http://a/\n" * (SIZE // 10),
    "patch": b"#cloud-config-jsonp\n[" + b'{"op":"add","path":"/a","value":1},' * (SIZE // 36),
    "template": b"## template: jinja\n#cloud-config\n" + b"{{ a }}\n" * (SIZE // 8),
    "invalid": b"#cloud-config\na: " + b"\xff" * SIZE,
    "base64": base64.b64encode(b"#!/bin/sh\n" + b"x" * (SIZE * 3 // 4)),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_ten_megabytes_cost_little(name: str) -> None:
    began = time.process_time()

    found = gather([Source("", Secret(DOCUMENTS[name]))], {}, Report(), base64=True)

    assert time.process_time() - began < 5
    assert len(found.parts) == 1
    assert found.parts[0].part.result in ("done", "refused", "notice")
