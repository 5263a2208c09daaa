"""From a conda file, or a list of requirements, to what pip's world calls it.

`dependencies` of an Azure ML conda file become requirements (PEP 508) and a Python version. Conda's names are
translated by a table of our own:
the mappings that conda-forge's and prefix.dev's robots publish are files of a megabyte on the web, renewed every hour
and in no package,
so a site without internet could not have them; and most of their entries say that a name is the same. The table holds
those that differ and are used.
What only conda has (compilers, CUDA's tool kit, R, …) is refused, all names in one error.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from ultramarine.domain.conda_names import CONDA_ONLY, CONDA_ONLY_FAMILIES, HOW, PYPI, UNNEEDED
from ultramarine.domain.conda_yaml import read_yaml
from ultramarine.domain.errors import InvalidInput

BYTES_MAX = 256 * 1024  #: of a conda file
REQUIREMENTS_MAX = 1000
_KNOWN_FIELDS = frozenset({"name", "channels", "dependencies", "prefix", "variables"})
_MATCH = re.compile(r"^(?:(?P<channel>[\w./:+-]+)::)?(?P<name>[A-Za-z0-9_][\w.-]*)\s*(?P<rest>.*)$", re.DOTALL)
_PLAIN = re.compile(r"^[\w.*+!]+$")
_PIP_ONLY = "A lock is made from packages of an index: `name`, `name==1.2`, `name[extra]>=1; python_version > '3.10'`."


class CondaFileRefused(InvalidInput):
    """The conda file cannot be read: what, where, and what is expected there."""

    title = "The conda file cannot be taken"


class RequirementRefused(InvalidInput):
    """A requirement is no requirement, or is a path, a URL or version control."""

    title = "A requirement cannot be taken"


class CondaOnly(InvalidInput):
    """Packages that only conda has."""

    title = "Packages that only conda has"

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        advice = dict.fromkeys(HOW[name] for name in names if name in HOW)
        known = "; ".join(advice)
        super().__init__(
            f"No index of Python packages has {', '.join(names)}: conda alone does.",
            hint=f"Take {'them' if len(names) > 1 else 'it'} out of the conda file. {known + '. ' if known else ''}"
            "What a machine itself must have (compilers, drivers, R) is installed on the nodes by their owner.",
        )


class PythonNotThere(InvalidInput):
    """The wanted Python is on no node."""

    title = "This Python is not there"

    def __init__(self, wanted: str, available: Sequence[str]) -> None:
        there = ", ".join(sorted(available, key=Version)) or "none"
        super().__init__(
            f"Python {wanted} is not there; there is: {there}.",
            hint=f"Write one of those ({there}) into the environment, or install Python {wanted} on the nodes.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an environment shall hold."""

    requirements: tuple[str, ...]  #: PEP 508, normalised, in the order given, each once
    python: str | None  #: a version specifier like `==3.11.*`, or None: any
    hashes: Mapping[str, frozenset[str]] = field(
        default_factory=dict[str, frozenset[str]]
    )  #: `sha256:…` of the files that may be taken of a package, where its line says so


def from_conda(content: str | Mapping[str, object]) -> Wanted:
    """Read a conda file's text (or the mapping it holds). Raises CondaFileRefused, RequirementRefused, CondaOnly."""
    fields = _fields(content)
    unknown = sorted(set(fields) - _KNOWN_FIELDS)
    if unknown:
        raise _refused(f"Unknown field {unknown[0]!r}; known are {', '.join(sorted(_KNOWN_FIELDS))}.")
    if fields.get("variables"):
        raise _refused(
            "`variables` are not taken from a conda file.", hint="Put them into the job's environment_variables."
        )
    plain, pip = _split(fields.get("dependencies"))
    python: str | None = None
    wanted: list[str] = []
    only: list[str] = []
    for text in plain:
        name, rest = _match(text)
        if name == "python":
            python = _python(_specifier(rest, text))
        elif _is_conda_only(name):
            only.append(name)
        elif name not in UNNEEDED:  # their versions, such as openssl's 1.1.1t, need not be any of PyPI's
            wanted.append(_requirement(PYPI.get(name, name) + _specifier(rest, text)))
    if only:
        raise CondaOnly(sorted(set(only)))
    wanted.extend(_lines(pip))
    return Wanted(requirements=_once(wanted), python=python, hashes=_hashes(pip))


def from_requirements(lines: Sequence[str], *, python: str | None = None) -> Wanted:
    """Read requirement lines as pip takes them; comments and empty lines are skipped. `python` is x.y. Raises
    RequirementRefused."""
    return Wanted(requirements=_once(_lines(lines)), python=f"=={python}.*" if python else None, hashes=_hashes(lines))


def choose_python(wanted: Wanted, available: Sequence[str], *, preferred: str) -> str:
    """The Python (x.y) to take: the preferred one where it will do, else the newest that does. Raises
    PythonNotThere."""
    if wanted.python is None:
        fits = list(available)
    else:
        specifiers = SpecifierSet(wanted.python)
        fits = [version for version in available if _allows(specifiers, version)]
    if not fits:
        raise PythonNotThere(_spoken(wanted.python or "3"), available)
    return preferred if preferred in fits else max(fits, key=Version)


def _allows(specifiers: SpecifierSet, minor: str) -> bool:
    """Whether some patch release of x.y fits: which one a node has is not known here."""
    return any(specifiers.contains(f"{minor}.{patch}", prereleases=True) for patch in range(40))


def _spoken(specifier: str) -> str:
    return re.sub(r"^==([\d.]+?)(\.\*)?$", r"\1", specifier)


def _refused(detail: str, *, hint: str = "") -> CondaFileRefused:
    return CondaFileRefused(
        detail,
        hint=hint
        or "A conda file looks so: {name: n, channels: [conda-forge], "
        "dependencies: [python=3.11, numpy, pip, {pip: [mlflow]}]}.",
    )


def _fields(content: str | Mapping[str, object]) -> Mapping[str, object]:
    if isinstance(content, Mapping):
        return content
    if len(content.encode(errors="replace")) > BYTES_MAX:
        raise _refused(f"The conda file has more than {BYTES_MAX // 1024} KiB.")
    read = read_yaml(content, refused=_refused)
    if not isinstance(read, dict):
        raise _refused(
            f"The conda file holds {_kind(read)} where a mapping with `dependencies` is expected.",
            hint="Requirement lines are no conda file: give them as `requirements`, or by --requirements FILE."
            if isinstance(read, str)
            else "",
        )
    return {str(key): value for key, value in cast("dict[object, object]", read).items()}


def _kind(value: Any) -> str:
    names: dict[type[object], str] = {
        dict: "a mapping",
        list: "a list",
        str: "text",
        int: "a number",
        float: "a number",
        bool: "true/false",
        type(None): "nothing",
    }
    kind = cast("type[object]", type(value))
    return names.get(kind, kind.__name__)


def _split(dependencies: object) -> tuple[list[str], list[str]]:
    """Conda's own lines, and those under `pip:`."""
    if not isinstance(dependencies, list):
        raise _refused(f"`dependencies` is {_kind(dependencies)} where a list is expected.")
    items = cast("list[object]", dependencies)
    if len(items) > REQUIREMENTS_MAX:
        raise _refused(f"`dependencies` has {len(items)} entries; at most {REQUIREMENTS_MAX} are taken.")
    plain: list[str] = []
    pip: list[str] = []
    for number, item in enumerate(items):
        if isinstance(item, str):
            plain.append(item)
        elif isinstance(item, dict) and set(cast("dict[object, object]", item)) == {"pip"}:
            pip.extend(_pip_lines(cast("dict[str, object]", item)["pip"], number))
        else:
            raise _refused(
                f"`dependencies[{number}]` is {_kind(item)} ({str(cast(object, item))[:60]}) "
                f"where text like `numpy=1.26`, or `pip:` "
                f"with a list, is expected."
            )
    return plain, pip


def _pip_lines(value: object, number: int) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(line, str) for line in cast("list[object]", value)):
        raise _refused(f"`dependencies[{number}].pip` is {_kind(value)} where a list of requirement lines is expected.")
    return cast("list[str]", value)


def _match(text: str) -> tuple[str, str]:
    """Conda's match specification -> name (lower case), and what it says of versions."""
    found = _MATCH.match(text.split(" #", maxsplit=1)[0].strip())
    if found is None or "[" in text:
        raise _refused(
            f"{text[:80]!r} is no dependency that can be read.",
            hint="Write `name`, `name=1.2`, `name>=1,<2` or `channel::name=1.2`; brackets have no counterpart.",
        )
    return found["name"].lower(), found["rest"].strip()


def _specifier(rest: str, text: str) -> str:
    """`=1.2` is 1.2.*, `=1.2=py311_0` drops the build, `1.2.*` alone is ==; what PEP 440 has too stays."""
    if not rest or rest == "*":
        return ""
    if "|" in rest:
        raise _refused(
            f"{text[:80]!r}: an 'or' of versions has no counterpart outside conda.",
            hint="Name one range, such as `>=1.2,<2`.",
        )
    parts = [_one(part.strip(), text) for part in re.sub(r"\s*([<>=!~]+)\s*", r"\1", rest).split(",")]
    try:
        return str(SpecifierSet(",".join(part for part in parts if part)))
    except InvalidSpecifier:
        raise _refused(
            f"{text[:80]!r}: {rest!r} is no version that can be read.",
            hint="Write `=1.2`, `==1.2.3`, `>=1.2,<2` or `1.2.*`.",
        ) from None


def _one(part: str, text: str) -> str:
    exact = part.startswith("==")
    if part.startswith(("<", ">", "!", "~")):
        return part.split(" ", maxsplit=1)[0]
    version = re.split(r"[= ]", part.lstrip("="), maxsplit=1)[0]
    if version == "*":
        return ""
    if not _PLAIN.match(version):
        raise _refused(
            f"{text[:80]!r}: {part!r} is no version that can be read.",
            hint="Write `=1.2`, `==1.2.3`, `>=1.2,<2` or `1.2.*`.",
        )
    has_build = "=" in part.lstrip("=") or " " in part
    fuzzy = part.startswith("=") and not exact and not has_build
    stem = version.removesuffix("*").removesuffix(".")
    return f"=={stem}.*" if fuzzy or version.endswith("*") else f"=={version}"


def _python(spec: str) -> str | None:
    """`python=3.11.4` asks for a 3.11: nodes have their own patch release."""
    exact = re.fullmatch(r"==(\d+\.\d+)(\.\d+)?(\.\*)?", spec)
    if exact:
        return f"=={exact[1]}.*"
    if re.fullmatch(r"==\d+(\.\*)?", spec):
        return f"=={spec[2:].removesuffix('.*')}.*"
    return spec or None


def _is_conda_only(name: str) -> bool:
    return name in CONDA_ONLY or any(name.startswith(family) for family in CONDA_ONLY_FAMILIES)


def _cleaned(lines: Sequence[str]) -> list[str]:
    """Whole lines without comments, none of them empty."""
    whole = "\n".join(lines).replace("\\\n", " ").splitlines()
    if len(whole) > REQUIREMENTS_MAX:
        raise RequirementRefused(
            f"{len(whole)} requirement lines; at most {REQUIREMENTS_MAX} are taken.",
            hint="Leave out what the others pull in anyway.",
        )
    cleaned = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in whole)
    return [line for line in cleaned if line]


def _lines(lines: Sequence[str]) -> list[str]:
    return [_requirement(line) for line in _cleaned(lines)]


def _hashes(lines: Sequence[str]) -> dict[str, frozenset[str]]:
    """By package. Of lines for several Pythons each adds its own."""
    found: dict[str, frozenset[str]] = {}
    for line in _cleaned(lines):
        if named := frozenset(each.lower() for each in re.findall(r"\s--hash[=\s]\s*(\w+:\w+)", line)):
            name = Requirement(_requirement(line)).name
            found[name] = found.get(name, frozenset()) | named
    return found


def _requirement(line: str) -> str:
    """One line, normalised. Raises RequirementRefused for whatever does not come from an index by its name."""
    text = re.split(r"\s--(?:hash|config-settings?|global-option)\b", line)[0].strip()
    if text.startswith("-"):
        raise RequirementRefused(
            f"{_without_secrets(text)[:80]!r} is an option of pip, no requirement.", hint=_option_hint(text)
        )
    if re.match(r"^(git|hg|svn|bzr)\+", text) or re.search(r"@\s*(git|hg|svn|bzr)\+", text):
        raise RequirementRefused(
            f"{_without_secrets(text)[:100]!r} comes from version control.",
            hint=f"{_PIP_ONLY} Put your own code into the job's `code` folder.",
        )
    if re.match(r"^[a-z][a-z0-9+.-]*://", text, re.IGNORECASE) or re.search(r"@\s*[a-z]+:", text):
        raise RequirementRefused(
            f"{_without_secrets(text)[:100]!r} is a URL.",
            hint=f"{_PIP_ONLY} Or put the wheel into a folder that the site's find-links names.",
        )
    if (
        re.match(r"^(\.{0,2}/|~|[A-Za-z]:\\|\.\.?(\[|$))", text)
        or re.search(r"[\\/]", text.split(";")[0])
        or text.endswith((".whl", ".tar.gz", ".zip", ".txt"))
    ):
        raise RequirementRefused(
            f"{text[:80]!r} is a path.", hint=f"{_PIP_ONLY} Put your own code into the job's `code` folder."
        )
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        raise RequirementRefused(
            f"{text[:80]!r} is no requirement: {str(error).splitlines()[0]}.",
            hint="A conda file is no list of requirements: give it as `conda_file`, or by --conda-file FILE."
            if re.match(r"^(name|channels|dependencies):", text)
            else _PIP_ONLY,
        ) from None
    parsed.name = canonicalize_name(parsed.name)
    return str(parsed)


def _option_hint(text: str) -> str:
    if text.startswith(("-r", "--requirement", "-c", "--constraint")):
        return "Write that file's lines here instead: only one file is sent."
    if text.startswith(("-e", "--editable")):
        return "Put your own code into the job's `code` folder: it is on the path there."
    if text.startswith("--pre"):
        return "A pre-release is taken where its requirement names one: `name>=2.0rc1`."
    if re.match(r"^(-i|-f|--(index-url|extra-index-url|find-links|trusted-host|no-index))\b", text):
        return (
            "Where packages come from is the site's to say: in pip.conf or by "
            "PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS of the server."
        )
    return _PIP_ONLY


def _without_secrets(text: str) -> str:
    return re.sub(r"://[^/@\s]*@", "://", text)


def _once(requirements: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(requirements))
