"""Public keys of OpenPGP as repositories give them: without armor, and named by fingerprint."""

from binascii import Error, a2b_base64

BEGIN, END = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"


def without_armor(text: str) -> bytes:
    """Return the key, or keys, of an armored block; raises ValueError."""
    _, begin, rest = text.partition(BEGIN)
    block, end, _ = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected a key from {BEGIN!r} to its end")
    lines = [line.strip() for line in block.strip("\r\n").splitlines()]
    # Headers such as `Version: …` end at an empty line; the sum of the block begins with `=`.
    if "" in lines:
        lines = lines[lines.index("") + 1 :]
    body = "".join(line for line in lines if ": " not in line and not line.startswith("="))
    try:
        content = a2b_base64(body)
    except Error as error:
        raise ValueError("expected base64 within the key") from error
    fingerprint(content)
    return content


def fingerprint(content: bytes) -> str:
    """Return the fingerprint of the first key in capital letters; raises ValueError."""
    tag, body = _packet(content)
    if tag != 6 or not body:
        raise ValueError("expected a public key of OpenPGP")
    from hashlib import sha1, sha256

    if body[0] == 4:
        whole = b"\x99" + len(body).to_bytes(2, "big") + body
        # The format's own name for a key, and no signature.
        return sha1(whole).hexdigest().upper()  # noqa: S324
    if body[0] in (5, 6):
        first = b"\x9a" if body[0] == 5 else b"\x9b"
        return sha256(first + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise ValueError("expected a key of version 4 or later")


def is_named(content: bytes, keyid: str) -> bool:
    """Say whether *keyid*, hexadecimal digits of any usual length, names the first key."""
    found = fingerprint(content)
    # Version 4 is named by the end of its fingerprint, later ones by its beginning.
    return found.endswith(keyid) if len(found) == 40 else found.startswith(keyid)


def _packet(content: bytes) -> tuple[int, bytes]:
    """Return the type and the body of the first packet."""
    if len(content) < 6 or not content[0] & 0x80:
        raise ValueError("expected a public key of OpenPGP")
    first = content[0]
    if first & 0x40:
        tag, length = first & 0x3F, content[1]
        if length < 192:
            start = 2
        elif length < 224:
            length, start = ((length - 192) << 8) + content[2] + 192, 3
        else:
            length, start = int.from_bytes(content[2:6], "big"), 6
    else:
        tag, kind = (first >> 2) & 0x0F, first & 3
        size = (1, 2, 4)[kind] if kind < 3 else 0
        length, start = int.from_bytes(content[1 : 1 + size], "big"), 1 + size
    body = content[start : start + length]
    if len(body) != length:
        raise ValueError("expected a whole public key of OpenPGP")
    return tag, body
