"""linklocal completion: scripts for shells, made of a command's parser. The packages have all."""

from __future__ import annotations

import argparse
import shlex
from argparse import Namespace
from collections.abc import Iterator
from typing import Any, NamedTuple

from .errors import DONE, CtlError
from .parser import Parser, client

COMPLETION = """\
Print a script that completes commands, options, files and the ids of instances:
  bash  source <(linklocal completion bash)
  zsh   source <(linklocal completion zsh)
  fish  linklocal completion fish | source"""

IDS = "ids"
"""What the scripts themselves ask for."""


class Command(NamedTuple):
    """What may follow the words of a command."""

    words: str
    """Such as `instance list`; the first one has none."""
    commands: dict[str, str]
    """Names of commands below it, and what they are for."""
    options: dict[str, str]
    values: dict[str, str]
    """By option: `file`, words to choose from, or nothing for any text."""
    arguments: str
    """What the positional arguments are: `file`, `ids` or nothing."""


def add(commands: Any, parser: argparse.ArgumentParser) -> None:
    made: Parser = commands.add_parser(
        "completion", help="print a script for a shell", description=COMPLETION
    )
    made.add_argument("shell", choices=("bash", "zsh", "fish", IDS), metavar="bash|zsh|fish")
    made.add_common()
    made.set_defaults(run=lambda options: run(options, parser))


def run(options: Namespace, parser: argparse.ArgumentParser) -> int:
    if options.shell == IDS:
        return _print_ids(options)
    print(script(options.shell, parser), end="")
    return DONE


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return what completes the command of *parser*, any of ours, in bash, zsh or fish."""
    known = list(tree(parser))
    if shell == "fish":
        return _fish(parser.prog, known)
    function = "_" + parser.prog.replace("-", "_")
    made = _shared(known) + {"bash": _BASH, "zsh": _ZSH}[shell]
    return made.replace("FUNCTION", function).replace("PROGRAM", parser.prog)


def _print_ids(options: Namespace) -> int:
    """Print ids and names; nothing when there is no server: a shell has no place for words."""
    from .instance import pages

    try:
        for each in pages(client(options), ""):
            print(f"{each['id']}\t{each['name']}")
    except CtlError:
        pass
    return DONE


def tree(parser: argparse.ArgumentParser, words: str = "") -> Iterator[Command]:
    """Yield the command of *parser* and all below it."""
    below: dict[str, argparse.ArgumentParser] = {}
    helps: dict[str, str] = {}
    options: dict[str, str] = {}
    values: dict[str, str] = {}
    arguments = ""
    for action in parser._actions:  # argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):
            below = dict(action.choices)
            helps = {each.dest: each.help or "" for each in action._choices_actions}
        elif action.option_strings:
            name = action.option_strings[-1]
            options[name] = action.help or ""
            if action.nargs != 0:
                values[name] = _kind(action)
        elif not arguments:
            arguments = _kind(action)
    yield Command(words, helps, options, values, arguments)
    for name, each in below.items():
        yield from tree(each, f"{words} {name}".strip())


def _kind(action: argparse.Action) -> str:
    if action.choices is not None:
        return " ".join(word for word in map(str, action.choices) if word != IDS)
    return {"FILE": "file", "DIR": "file", "ID": IDS}.get(str(action.metavar), "")


_SHARED = """\
#compdef PROGRAM
# Made of the command's own parser.
FUNCTION_words() {{
    # Prints what may stand after the words given, a line for each kind: commands, options, values.
    case "$1" in
{commands}
    esac
}}
FUNCTION_value() {{
    # Prints what the option $2 of the command $1 takes; fails when it takes nothing.
    case "$1 $2" in
{values}
    *) return 1 ;;
    esac
}}
"""

_BASH = """\
FUNCTION() {
    local cur=${COMP_WORDS[COMP_CWORD]} at= option= word more kind index
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ -n $option ]]; then option=; continue; fi
        if [[ $word == -* ]]; then
            FUNCTION_value "$at" "$word" >/dev/null && option=$word
            continue
        fi
        more="${at:+$at }$word"
        [[ -n $(FUNCTION_words "$more") ]] && at=$more
    done
    if [[ -n $option ]]; then
        kind=$(FUNCTION_value "$at" "$option")
    elif [[ $cur == -* ]]; then
        kind=$(FUNCTION_words "$at" | sed -n 2p)
    else
        kind=$(FUNCTION_words "$at" | sed -n 1p)
    fi
    case $kind in
    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")) ;;
    ids) COMPREPLY=($(compgen -W "$(PROGRAM completion ids 2>/dev/null | cut -f1)" -- "$cur")) ;;
    *) COMPREPLY=($(compgen -W "$kind" -- "$cur")) ;;
    esac
}
complete -F FUNCTION PROGRAM
"""

_ZSH = """\
FUNCTION() {
    local at= option= word more kind
    local -i index
    for ((index = 2; index < CURRENT; index++)); do
        word=${words[index]}
        if [[ -n $option ]]; then option=; continue; fi
        if [[ $word == -* ]]; then
            FUNCTION_value "$at" "$word" >/dev/null && option=$word
            continue
        fi
        more="${at:+$at }$word"
        [[ -n $(FUNCTION_words "$more") ]] && at=$more
    done
    if [[ -n $option ]]; then
        kind=$(FUNCTION_value "$at" "$option")
    elif [[ ${words[CURRENT]} == -* ]]; then
        kind=$(FUNCTION_words "$at" | sed -n 2p)
    else
        kind=$(FUNCTION_words "$at" | sed -n 1p)
    fi
    case $kind in
    file) _files ;;
    ids) compadd -- ${(f)"$(PROGRAM completion ids 2>/dev/null | cut -f1)"} ;;
    *) compadd -- ${=kind} ;;
    esac
}
if [[ ${funcstack[1]} == _PROGRAM ]]; then
    # Loaded at the first use, in place of the function.
    FUNCTION "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef FUNCTION PROGRAM
fi
"""


def _shared(known: list[Command]) -> str:
    """Return the two functions that bash and zsh have in common."""
    commands, values = [], []
    for each in known:
        first = " ".join(each.commands) or each.arguments
        lines = f"{shlex.quote(first)} {shlex.quote(' '.join(each.options))}"
        commands.append(f"    {shlex.quote(each.words)}) printf '%s\\n' {lines} ;;")
        values += [
            f"    {shlex.quote(f'{each.words} {name}')}) echo {shlex.quote(kind)} ;;"
            for name, kind in each.values.items()
        ]
    return _SHARED.format(commands="\n".join(commands), values="\n".join(values))


def _fish(program: str, known: list[Command]) -> str:
    """Return one `complete` line for each word; a command counts by the words so far."""
    lines = [
        "# Made of the command's own parser.",
        "function __linklocal_is",
        "    set -l words (commandline -opc | string match -v -- '-*')[2..-1]",
        '    test "$words" = "$argv"',
        "end",
        "function __linklocal_at",
        "    set -l words (commandline -opc | string match -v -- '-*')[2..-1]",
        "    set -l given (count $argv)",
        '    test (count $words) -ge $given; and test "$words[1..$given]" = "$argv"',
        "end",
        f"complete -c {program} -f",
    ]
    for each in known:
        # What follows an argument is the same command still; a group has no arguments.
        at = f"{'__linklocal_is' if each.commands else '__linklocal_at'} {each.words}".strip()
        begin = f"complete -c {program}"
        if each.words or each.commands:
            begin += f" -n {shlex.quote(at)}"
        lines += [
            f"{begin} -a {shlex.quote(name)} -d {shlex.quote(text)}"
            for name, text in each.commands.items()
        ]
        for name, text in each.options.items():
            line = f"{begin} -l {name[2:]} -d {shlex.quote(_first_line(text))}"
            if name in each.values:
                kind = each.values[name]
                line += " -r -F" if kind == "file" else f" -x -a {shlex.quote(kind)}"
            lines.append(line)
        if each.arguments == "file":
            lines.append(f"{begin} -F")
        elif each.arguments == IDS:
            lines.append(f"{begin} -a '({program} completion ids 2>/dev/null)'")
        elif each.arguments:
            lines.append(f"{begin} -a {shlex.quote(each.arguments)}")
    return "\n".join(lines) + "\n"


def _first_line(text: str) -> str:
    return " ".join(text.split())
