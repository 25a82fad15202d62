"""The guide's rules for passwords, as tables and as properties."""

from __future__ import annotations

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metadata_server.reset.policy import (
    SPECIALS,
    OsType,
    PasswordRefused,
    broken,
    check,
    generate,
)

LENGTH = "expected 8 to 26 characters"
NAME = "must not contain the user name, forwards or backwards"
RUN = "must not contain more than two consecutive characters of the user name"
TYPES = (
    "expected at least 3 of upper-case letters, lower-case letters, digits and special characters"
)
SET = {
    os: f"expected only ASCII letters, digits and the special characters {SPECIALS[os]}"
    for os in SPECIALS
}

OS_TYPES: tuple[OsType, ...] = ("Linux", "Windows")
os_types = st.sampled_from(OS_TYPES)
user_names = st.text(string.ascii_letters + string.digits + "_-.", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("password", "user", "os_type"),
    [
        ("Cloud.1234!", "root", "Linux"),
        ("Cloud.1234!", "Administrator", "Windows"),
        ("aA1aaaaa", "root", "Linux"),
        ("Aa" + "1" * 24, "root", "Linux"),
        ("lower1234!", "root", "Linux"),
        ("UPPER1234!", "root", "Linux"),
        ("Aa!@$%^_-=+[{}];,./?~#*", "root", "Linux"),
        ("Aa!@$%^_-=+[{()}];,./?~#*", "Administrator", "Windows"),
        ("Ro0t-oor-t", "root", "Linux"),
        # Two characters of the name in a row are allowed on Windows, three anywhere on Linux.
        ("Ad1-Mi2-nI", "Administrator", "Windows"),
        ("Adm1-inistr", "Administrator", "Linux"),
        ("Cloud.1234!", "", "Windows"),
    ],
)
def test_good_passwords(password: str, user: str, os_type: OsType) -> None:
    check(password, user=user, os_type=os_type)


@pytest.mark.parametrize(
    ("password", "user", "os_type", "rules"),
    [
        ("", "root", "Linux", (LENGTH, TYPES)),
        ("aA1!aaa", "root", "Linux", (LENGTH,)),
        ("Aa" + "1" * 25, "root", "Linux", (LENGTH,)),
        ("onlylower1", "root", "Linux", (TYPES,)),
        ("ONLYUPPER!", "root", "Linux", (TYPES,)),
        ("1234567!!!", "root", "Linux", (TYPES,)),
        ("Cloud 1234", "root", "Linux", (SET["Linux"],)),
        ("Cloud&1234", "root", "Windows", (SET["Windows"],)),
        ("Cloud|1234", "root", "Linux", (SET["Linux"],)),
        ("Cloud(1234)", "root", "Linux", (SET["Linux"],)),
        ("Cloud:1234", "root", "Linux", (SET["Linux"],)),
        ("Cloud.1234\n", "root", "Linux", (SET["Linux"],)),
        ("Cloud.1234\0", "root", "Linux", (SET["Linux"],)),
        # Digits, letters and signs of other alphabets count for nothing.
        ("Cloudé1234", "root", "Linux", (SET["Linux"],)),
        ("cloud\uff11\uff12\uff13\uff14", "root", "Linux", (SET["Linux"], TYPES)),
        ("密码密码密码密码", "root", "Linux", (SET["Linux"], TYPES)),
        ("x-Root-12345", "root", "Linux", (NAME,)),
        ("x-tOOr-12345", "root", "Linux", (NAME,)),
        ("x-root-12345", "ROOT", "Linux", (NAME,)),
        ("1-Administrator", "Administrator", "Linux", (NAME,)),
        ("1-Administrator", "administrator", "Windows", (NAME, RUN)),
        ("1-tseuG-12345", "Guest", "Windows", (NAME,)),
        ("Adm-12345", "Administrator", "Windows", (RUN,)),
        ("aDM-12345", "Administrator", "Windows", (RUN,)),
        ("12345-TOR", "Administrator", "Windows", (RUN,)),
        ("root", "root", "Linux", (LENGTH, TYPES, NAME)),
    ],
)
def test_each_broken_rule_is_named(
    password: str, user: str, os_type: OsType, rules: tuple[str, ...]
) -> None:
    assert set(broken(password, user=user, os_type=os_type)) == set(rules)


def test_a_refusal_is_status_400_and_names_all_broken_rules() -> None:
    with pytest.raises(PasswordRefused) as refused:
        check("root", user="root", os_type="Linux")

    assert refused.value.status == 400
    assert str(refused.value) == f"password: {LENGTH}; {TYPES}; {NAME}"


@given(st.text(), user_names, os_types)
def test_a_refusal_says_nothing_that_depends_on_the_password(
    password: str, user: str, os_type: OsType
) -> None:
    assert set(broken(password, user=user, os_type=os_type)) <= {
        LENGTH,
        TYPES,
        NAME,
        RUN,
        SET[os_type],
    }


@given(st.text(string.printable, min_size=8, max_size=26), user_names, os_types)
def test_what_is_accepted_keeps_every_rule(password: str, user: str, os_type: OsType) -> None:
    if broken(password, user=user, os_type=os_type):
        return
    types = (string.ascii_uppercase, string.ascii_lowercase, string.digits, SPECIALS[os_type])

    assert 8 <= len(password) <= 26
    assert password.isascii()
    assert sum(any(char in chars for char in password) for chars in types) >= 3
    assert all(any(char in chars for chars in types) for char in password)
    assert user.lower() not in password.lower()
    assert user.lower() not in password.lower()[::-1]


@given(user_names, st.booleans(), st.booleans(), os_types)
def test_a_password_around_the_user_name_is_refused(
    user: str, backwards: bool, upper: bool, os_type: OsType
) -> None:
    name = user[::-1] if backwards else user

    assert NAME in broken(f"aA1{name.upper() if upper else name}!", user=user, os_type=os_type)


@given(st.data(), st.text(string.ascii_lowercase, min_size=4, max_size=12))
def test_three_characters_of_the_name_in_a_row_are_refused_on_windows_only(
    data: st.DataObject, user: str
) -> None:
    at = data.draw(st.integers(0, len(user) - 3))
    password = f"7!7!{user[at : at + 3]}7!7!"

    assert RUN in broken(password, user=user, os_type="Windows")
    assert RUN not in broken(password, user=user, os_type="Linux")


def test_generated_passwords_are_long_random_and_good_everywhere() -> None:
    made = [generate("root", "Administrator") for _ in range(200)]

    assert len(set(made)) == len(made)
    alphabet = set("".join(made))
    assert all(len(one) * math.log2(len(alphabet)) >= 128 for one in made)
    for one in made:
        assert 20 <= len(one) <= 26
        assert one[0].isalnum()
        for os_type in OS_TYPES:
            check(one, user="root", os_type=os_type)
            check(one, user="Administrator", os_type=os_type)
    # Nothing that a shell or an argument list would take for something else.
    assert not alphabet & set("$`\\\"'*?~#;[]{}()! \t\n")
