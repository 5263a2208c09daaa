"""YAML as strict as it should have been: a key once, no aliases that grow, plain types, and the line in every error."""

from collections.abc import Callable, Hashable

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

DEPTH_MAX = 20
ALIASES_MAX = 20


class _Strict(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, deep nesting, and more than a few aliases (a bomb needs many)."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.aliases = 0
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
        self.depth += 1
        if self.aliases > ALIASES_MAX:
            raise self._refusal(f"more than {ALIASES_MAX} aliases")
        if self.depth > DEPTH_MAX:
            raise self._refusal(f"nested more than {DEPTH_MAX} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refusal(self, words: str) -> ComposerError:
        return ComposerError(None, None, words, self.get_mark())

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: dict[object, int] = {}
        for key_node, _ in node.value:
            key: object = self.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
            if not isinstance(key, str | int | float | bool | None):
                raise ConstructorError(None, None, "a key that is no plain word", key_node.start_mark)
            if key in seen:
                raise ConstructorError(
                    None, None, f"the key {key!r} stands here and in line {seen[key]} too", key_node.start_mark
                )
            seen[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str, *, refused: Callable[[str], Exception]) -> object:
    """The document's content. What cannot be read raises what `refused` makes of a sentence with the line."""
    try:
        return yaml.load(text, Loader=_Strict)  # noqa: S506  (it is a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"Line {mark.line + 1}" if mark else "The file"
        raise refused(f"{where}: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise refused(f"The file is no YAML: {str(error).splitlines()[0]}.") from None
    except (ValueError, RecursionError) as error:  # dates that are none, and the like
        raise refused(f"The file holds a value that is none: {error}.") from None
