"""Scripts with which a shell completes the commands, their options, and the keys of the config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shelfmark.cli.parser import JSON, Option

if TYPE_CHECKING:
    from shelfmark.cli.parser import Command


@dataclass(frozen=True)
class Words:
    """Everything that can be completed.

    flags: of each command. values: those of a key (`optim.name`), of an option (`train --mode`) or of what a command
    begins with (`prepare`), where there is a list of them. open: options of each command whose value can be anything,
    such as a file. keys: of the config, which the commands in `with_config` take.
    """

    commands: Mapping[str, str]
    flags: Mapping[str, list[str]]
    open: Mapping[str, list[str]]
    values: Mapping[str, list[str]]
    keys: list[str]
    with_config: list[str]

    @property
    def first(self) -> list[str]:
        return list(dict.fromkeys(name.partition(" ")[0] for name in self.commands))

    @property
    def second(self) -> dict[str, list[str]]:
        """First word to the words that may follow it."""
        pairs = [name.split(" ") for name in self.commands if " " in name]
        return {first: [pair[1] for pair in pairs if pair[0] == first] for first, _ in pairs}


def words_of(commands: Mapping[str, Command]) -> Words:
    """All words, from the commands and the tree of the recipe. Nothing heavy is imported."""
    from shelfmark.config.shape import Shape
    from shelfmark.recipe import Recipe

    of_keys = {key: shape for key, shape in Shape.of(Recipe).below() if not shape.keys()}
    options = {name: [*command.options, JSON] for name, command in commands.items()}
    values = {
        f"{name} {one.flag}" if one.flag.startswith("--") else name: [str(choice) for choice in one.settings["choices"]]
        for name, several in options.items()
        for one in several
        if "choices" in one.settings
    }
    return Words(
        {name: command.help for name, command in commands.items()},
        {name: [*_flags(several), "--help"] for name, several in options.items()},
        {name: _flags(one for one in several if _is_open(one)) for name, several in options.items()},
        {**values, **{key: [str(one) for one in shape.choices] for key, shape in of_keys.items() if shape.choices}},
        [f"{key}=" for key in of_keys],
        [name for name, command in commands.items() if command.takes_config],
    )


def bash(words: Words) -> str:
    """To be evaluated in ~/.bashrc."""
    return _BASH.replace("@TABLES@", _tables(words))


def zsh(words: Words) -> str:
    """To be evaluated in ~/.zshrc, behind compinit."""
    return _ZSH.replace("@TABLES@", _tables(words))


def fish(words: Words) -> str:
    """For a file in ~/.config/fish/completions."""
    told = {first: _quoted(words.commands.get(first, "")) for first in words.first}
    lines = [f"-n __fish_use_subcommand -f -a {first} -d {text}" for first, text in told.items()]
    for first, following in words.second.items():
        lines += [
            f"-n '__shelfmark_is {first}' -f -a {second} -d {_quoted(words.commands[f'{first} {second}'])}"
            for second in following
        ]
    for name, flags in words.flags.items():
        at = f"-n '__shelfmark_is {name}'"
        for flag in flags:
            values = words.values.get(f"{name} {flag}")
            takes = f" -x -a {_quoted(' '.join(values))}" if values else " -r" if flag in words.open[name] else ""
            lines.append(f"{at} -l {flag.removeprefix('--')}{takes}")
        if name in words.values:
            lines.append(f"{at} -f -a {_quoted(' '.join(words.values[name]))}")
        if name in words.with_config:
            lines.append(f"{at} -a {_quoted(' '.join(words.keys))}")
    return _FISH + "\n".join(f"complete -c shelfmark {line}" for line in lines)


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


def _flags(options: Iterable[Option]) -> list[str]:
    return [one.flag for one in options if one.flag.startswith("--")]


def _is_open(option: Option) -> bool:
    return "choices" not in option.settings and option.settings.get("action") != "store_true"


def _tables(words: Words) -> str:
    """Functions that print the words behind what they are given, in the language that bash and zsh share."""
    keys = "".join(f"    '{name}') echo \"$_shelfmark_all_keys\" ;;\n" for name in words.with_config)
    return "\n".join(
        [
            f"_shelfmark_first='{' '.join(words.first)}'",
            f"_shelfmark_all_keys='{' '.join(words.keys)}'",
            _table("second", words.second),
            _table("flags", words.flags),
            _table("open", words.open),
            _table("values", words.values),
            f"_shelfmark_keys() {{\n    case $1 in\n{keys}    esac\n}}",
        ]
    )


def _table(name: str, rows: Mapping[str, list[str]]) -> str:
    cases = "".join(f"    '{of}') echo '{' '.join(words)}' ;;\n" for of, words in rows.items() if words)
    return f"_shelfmark_{name}() {{\n    case $1 in\n{cases}    esac\n}}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_WANTED = r"""
# The words that may stand at a place. $1: command. $2: the word before. $3: what is typed. $4: its number.
_shelfmark_wanted() {
    local found="$(_shelfmark_values "$1 $2")"
    case " $(_shelfmark_open "$1") " in *" $2 "*) return ;; esac
    if [ -n "$found" ]; then echo "$found"; return; fi
    case $3 in
    -*) _shelfmark_flags "$1" ;;
    *=*) _shelfmark_values "${3%%=*}" ;;
    *)
        if [ "$4" = 1 ]; then _shelfmark_second "$1"; fi
        _shelfmark_values "$1"
        _shelfmark_keys "$1" ;;
    esac
}
"""
_BASH = (
    r"""# Completion of shelfmark for bash. In ~/.bashrc: eval "$(shelfmark completion bash)"
@TABLES@
"""
    + _WANTED
    + r"""
_shelfmark() {
    local words=() word i joins=0
    # Bash takes words apart at `=`; here each is whole.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((${#words[@]})) && { [ "$word" = = ] || ((joins)); }; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        case $word in *=) joins=1 ;; *) joins=0 ;; esac
    done
    local last=$((${#words[@]} - 1)) name=${words[0]}
    local cur=${words[last]}
    if ((last == 0)); then
        COMPREPLY=($(compgen -W "$_shelfmark_first" -- "$cur"))
        return
    fi
    if ((last > 1)); then
        case " $(_shelfmark_second "$name") " in *" ${words[1]} "*) name="$name ${words[1]}" ;; esac
    fi
    local wanted="$(_shelfmark_wanted "$name" "${words[last - 1]}" "$cur" "$last")"
    case $cur in
    *=*)
        COMPREPLY=($(compgen -W "$wanted" -- "${cur#*=}"))
        case $COMP_WORDBREAKS in *=*) ;; *) COMPREPLY=("${COMPREPLY[@]/#/${cur%%=*}=}") ;; esac ;;
    *) COMPREPLY=($(compgen -W "$wanted" -- "$cur")) ;;
    esac
    case ${COMPREPLY[0]-} in *=) type compopt > /dev/null 2>&1 && compopt -o nospace 2> /dev/null ;; esac
}
complete -o default -F _shelfmark shelfmark"""
)
_ZSH = (
    r"""#compdef shelfmark
# Completion of shelfmark for zsh. In ~/.zshrc, behind compinit: eval "$(shelfmark completion zsh)"
@TABLES@
"""
    + _WANTED
    + r"""
_shelfmark() {
    local name=${words[2]} typed=$PREFIX
    local -a wanted
    if ((CURRENT == 2)); then
        compadd -- ${=_shelfmark_first}
        return
    fi
    if ((CURRENT > 3)); then
        case " $(_shelfmark_second "$name") " in *" ${words[3]} "*) name="$name ${words[3]}" ;; esac
    fi
    wanted=(${=$(_shelfmark_wanted "$name" "${words[CURRENT - 1]}" "$typed" $((CURRENT - 2)))})
    if [[ $typed == *=* ]]; then compset -P '*='; fi
    compadd -S '' -- ${(M)wanted:#*=}
    compadd -- ${wanted:#*=}
    if ((! ${#wanted})) || [[ $typed != -* ]]; then _files; fi
}
compdef _shelfmark shelfmark"""
)
_FISH = """# Completion of shelfmark for fish: shelfmark completion fish > ~/.config/fish/completions/shelfmark.fish
function __shelfmark_is
    set -l words (commandline -opc)
    test (count $words) -gt (count $argv); or return 1
    for number in (seq (count $argv))
        test $words[(math $number + 1)] = $argv[$number]; or return 1
    end
end
"""
