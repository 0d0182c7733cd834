"""Every verb has its output held somewhere, in a pipe and on a terminal: a new verb without that fails here."""

from __future__ import annotations

import ast

import kit
import pytest

from envbuilder.commands import VERBS

BOTH = "test_cli.test_what_is_said_in_a_pipe_is_said_on_a_terminal"
DATA = "test_cli.test_data_are_the_same_on_a_terminal"
EDITED = "test_verbs_edit.test_each_change_is_a_line"
ONLY_LOOKS = "test_cli.test_the_other_verbs_that_only_look"
SEEN = "test_see.test_a_terminal_of_80_columns_shows_the_same_in_colours_and_tables"
TABLES = "test_cli.test_tables_and_the_rest_on_a_terminal_of_80_columns"

SNAPSHOTS: dict[str, tuple[str, ...]] = {
    # verb -> the test of what it writes into a pipe, and of what it writes on a terminal of 80 columns; one where it is
    # the same test
    "add": (EDITED, "test_verbs_edit.test_on_a_terminal_a_change_is_a_line_too"),
    "build": (ONLY_LOOKS, "test_cli.test_a_build_that_would_change_nothing_on_a_terminal"),
    "check": (
        "test_check.test_a_line_for_each_base_and_exit_1_unless_all_fit",
        "test_check.test_on_a_terminal_of_80_columns",
    ),
    "completion": ("test_shells.test_values_are_listed_with_what_they_are", DATA),
    "diff": ("test_see.test_diff", SEEN),
    "disable": (EDITED, "test_verbs_edit.test_on_a_terminal_a_change_is_a_line_too"),
    "doctor": ("test_doctor.test_all_is_well_in_a_pipe", "test_doctor.test_on_a_terminal_of_80_columns"),
    "enable": (EDITED, "test_verbs_edit.test_on_a_terminal_a_change_is_a_line_too"),
    "gc": ("test_keep.test_gc_shows_what_goes_and_why", "test_keep.test_gc_on_a_terminal_of_80_columns"),
    "history": ("test_cli.test_history", TABLES),
    "hook": (BOTH,),
    "info": ("test_see.test_info", SEEN),
    "init": (BOTH, "test_cli.test_the_first_config_is_told"),
    "keep": ("test_keep.test_keep_says_what_it_marks_and_gc_spares_it", BOTH),
    "list": ("test_cli.test_list", TABLES),
    "outdated": ("test_see.test_outdated", SEEN),
    "path": (ONLY_LOOKS, TABLES),
    "plugins": ("test_see.test_plugins", SEEN),
    "remove": (EDITED, "test_verbs_edit.test_on_a_terminal_a_change_is_a_line_too"),
    "rollback": (BOTH,),
    "run": (BOTH,),
    "sbom": (DATA,),
    "shell": (
        "test_shells.test_a_shell_has_the_set_and_passes_its_exit_code_on",
        "test_shells.test_on_a_terminal_the_prompt_is_marked_and_your_own_files_are_read",
    ),
    "show": ("test_see.test_show", SEEN),
    "status": ("test_cli.test_status_says_first_whether_a_new_process_gets_the_set", TABLES),
    "switch": (BOTH,),
    "tree": ("test_see.test_tree", "test_see.test_tree_on_a_terminal"),
    "uninstall": ("test_cli.test_what_an_uninstall_would_take",),
    "unkeep": ("test_keep.test_keep_says_what_it_marks_and_gc_spares_it", BOTH),
    "upgrade": (DATA,),
    "verify": (ONLY_LOOKS, TABLES),
    "why": ("test_see.test_why_a_package_of_the_set", SEEN),
}


def source_of(name: str) -> str:
    """Return the source of a test with its parameters, and of the helpers in its module."""
    module, _, function = name.partition(".")
    text = (kit.ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert function in {node.name for node in functions}, f"there is no test {name}"
    others = [node for node in functions if node.name.startswith("test_") and node.name != function]
    skipped = {number for node in others for number in range(first_line(node), (node.end_lineno or 0) + 1)}
    return "\n".join(line for number, line in enumerate(text.splitlines(), 1) if number not in skipped)


def first_line(node: ast.FunctionDef) -> int:
    return min((decorator.lineno for decorator in node.decorator_list), default=node.lineno)


def test_every_verb_is_here_and_nothing_else() -> None:
    assert SNAPSHOTS.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", SNAPSHOTS)
def test_its_tests_are_there_and_call_it(verb: str) -> None:
    for name in SNAPSHOTS[verb]:
        assert f'"{verb}"' in source_of(name), name
