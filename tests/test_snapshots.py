"""Every verb has its output held somewhere, in a pipe and on a terminal: a new verb without that fails here."""

from __future__ import annotations

import ast

import kit
import pytest

from envbuilder.commands import ALIASES, VERBS

BOTH = "test_cli.test_what_is_said_in_a_pipe_is_said_on_a_terminal"
DATA = "test_cli.test_data_are_the_same_on_a_terminal"
EDITED = "test_verbs_edit.test_each_change_is_a_line"
ONLY_LOOKS = "test_cli.test_the_other_verbs_that_only_look"
SHARED = "test_fleet.test_what_is_said_in_a_pipe_and_on_a_terminal"
SEEN = "test_see.test_a_terminal_of_80_columns_shows_the_same_in_colours_and_tables"
TABLES = "test_cli.test_tables_and_the_rest_on_a_terminal_of_80_columns"

SNAPSHOTS: dict[str, tuple[str, ...]] = {
    # verb -> the test of what it writes into a pipe, and of what it writes on a terminal of 80 columns; one where it is
    # the same test
    "add": (EDITED, "test_verbs_edit.test_on_a_terminal_a_change_is_a_line_too"),
    "audit": (
        "test_verbs_audit.test_a_set_is_read_again",
        "test_verbs_audit.test_on_a_terminal_of_80_columns",
    ),
    "bisect": (
        "test_bisect.test_the_plugin_is_named_in_a_few_tries",
        "test_bisect.test_what_changed_between_two_generations_is_named",
    ),
    "build": (
        ONLY_LOOKS,
        "test_cli.test_a_build_that_would_change_nothing_on_a_terminal",
        "test_cli.test_a_first_build_on_a_terminal",
    ),
    "cache": (SHARED,),
    "check": (
        "test_check.test_a_line_for_each_base_and_exit_1_unless_all_fit",
        "test_check.test_on_a_terminal_of_80_columns",
    ),
    "completion": ("test_cli.test_completion_scripts", DATA),
    "diff": ("test_see.test_diff", SEEN),
    "disable": (EDITED, "test_verbs_edit.test_on_a_terminal_a_change_is_a_line_too"),
    "doctor": ("test_doctor.test_all_is_well_in_a_pipe", "test_doctor.test_on_a_terminal_of_80_columns"),
    "enable": (EDITED, "test_verbs_edit.test_on_a_terminal_a_change_is_a_line_too"),
    "export": (SHARED,),
    "follow": (SHARED,),
    "gc": ("test_keep.test_gc_shows_what_goes_and_why", "test_keep.test_gc_on_a_terminal_of_80_columns"),
    "history": ("test_cli.test_history", TABLES),
    "hook": (BOTH,),
    "import": (SHARED,),
    "info": ("test_see.test_info", SEEN),
    "init": (BOTH, "test_cli.test_the_first_config_is_told"),
    "keep": ("test_keep.test_keep_says_what_it_marks_and_gc_spares_it", BOTH),
    "list": ("test_cli.test_list", TABLES),
    "new": ("test_new.test_a_new_project_is_told",),
    "outdated": ("test_see.test_outdated", SEEN),
    "path": (ONLY_LOOKS, TABLES),
    "plugins": ("test_see.test_plugins", SEEN),
    "pull": (SHARED,),
    "push": (SHARED,),
    "remove": (EDITED, "test_verbs_edit.test_on_a_terminal_a_change_is_a_line_too"),
    "rollback": (BOTH,),
    "run": (BOTH,),
    "sbom": ("test_cli.test_a_bill_of_materials", DATA),
    "shell": (
        "test_shells.test_a_shell_has_the_set_and_passes_its_exit_code_on",
        "test_shells.test_on_a_terminal_the_prompt_is_marked_and_your_own_files_are_read",
    ),
    "show": ("test_see.test_show", SEEN),
    "status": ("test_cli.test_status_says_first_whether_a_new_process_gets_the_set", TABLES),
    "switch": (BOTH,),
    "template": ("test_templates.test_the_list",),
    "tree": ("test_see.test_tree", "test_see.test_tree_on_a_terminal"),
    "uninstall": ("test_cli.test_what_an_uninstall_would_take",),
    "unkeep": ("test_keep.test_keep_says_what_it_marks_and_gc_spares_it", BOTH),
    "upgrade": ("test_cli.test_an_upgrade_that_finds_nothing_newer", DATA),
    "verify": (ONLY_LOOKS, TABLES),
    "why": ("test_see.test_why_a_package_of_the_set", SEEN),
}


RUNNERS = frozenset(
    {"call", "checked", "fed", "fleet.builder", "node", "on_terminal", "piped", "record", "stand", "typed", "vpm_env"}
)
"""What runs vpm-env in tests, with its words among what it is given."""


class Module:
    """A module of tests: its functions, and its top-level values."""

    def __init__(self, text: str) -> None:
        body = ast.parse(text).body
        self.functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}

    def verbs(self, function: str) -> set[str]:
        """Name the verbs that a test runs, itself or through functions of its module that are no fixtures."""
        node = self.functions[function]
        parameters = parameters_of(node)
        lists = {
            target.id: part.value
            for part in ast.walk(node)
            if isinstance(part, ast.Assign)
            for target in part.targets
            if isinstance(target, ast.Name)
        }
        found: set[str] = set()
        for loop in (
            part for part in ast.walk(node) if isinstance(part, ast.For) and isinstance(part.target, ast.Name)
        ):
            values = loop.iter.elts if isinstance(loop.iter, (ast.Tuple, ast.List)) else []
            parameters[loop.target.id] = [word for value in values for word in first_words(value, {}, {})]
        for part in ast.walk(node):
            if not isinstance(part, ast.Call):
                continue
            if ast.unparse(part.func) in RUNNERS or begins_vpm_env(part, lists):
                found |= set(words_of(part.args, parameters, lists | self.results(part)))
            elif isinstance(part.func, ast.Name) and part.func.id in self.functions and part.func.id != function:
                found |= self.verbs(part.func.id)
        return found

    def results(self, call: ast.Call) -> dict[str, ast.expr]:
        """Return what functions of the module return that make words for a call, by their names."""
        made = [
            part.value.func for part in call.args if isinstance(part, ast.Starred) and isinstance(part.value, ast.Call)
        ]
        called = [self.functions[func.id] for func in made if isinstance(func, ast.Name) and func.id in self.functions]
        return {
            node.name: part.value
            for node in called
            for part in ast.walk(node)
            if isinstance(part, ast.Return) and part.value is not None
        }


def begins_vpm_env(call: ast.Call, lists: dict[str, ast.expr]) -> bool:
    """Tell whether a call starts a list of words that begins with `*….command`."""
    first = call.args[0] if call.args else None
    words = lists.get(first.id) if isinstance(first, ast.Name) else first
    return isinstance(words, ast.List) and bool(words.elts) and ast.unparse(words.elts[0]).endswith(".command")


def parameters_of(node: ast.FunctionDef) -> dict[str, list[str]]:
    """Return the first words that the parameters of a parametrized test take."""
    found: dict[str, list[str]] = {}
    for mark in node.decorator_list:
        if not (isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.parametrize"):
            continue
        names = ast.literal_eval(mark.args[0])
        values = mark.args[1].elts if isinstance(mark.args[1], (ast.List, ast.Tuple)) else []
        for at, name in enumerate([names] if isinstance(names, str) else names):
            each = [value if isinstance(names, str) else value.elts[at] for value in values if is_row(value, names)]
            found[name] = [word for value in each for word in first_words(value, {}, {})]
    return found


def is_row(value: ast.expr, names: object) -> bool:
    return isinstance(names, str) or isinstance(value, (ast.Tuple, ast.List))


def words_of(arguments: list[ast.expr], parameters: dict[str, list[str]], lists: dict[str, ast.expr]) -> list[str]:
    """Return what the first word of a command line may be: the first of the arguments that gives one."""
    for argument in arguments:
        if words := first_words(argument, parameters, lists):
            return words
    return []


def first_words(value: ast.expr, parameters: dict[str, list[str]], lists: dict[str, ast.expr]) -> list[str]:
    """Return the first words that an argument stands for; options are none, and neither is what starts vpm-env."""
    if isinstance(value, ast.Starred):
        return first_words(value.value, parameters, lists)
    if isinstance(value, ast.Call):
        return first_words(value.func, parameters, lists) if ast.unparse(value.func) in lists else []
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return [] if value.value.startswith("-") else [value.value]
    if isinstance(value, ast.Name):
        if value.id in parameters:
            return parameters[value.id]
        return first_words(lists[value.id], parameters, {}) if value.id in lists else []
    return words_of(value.elts, parameters, lists) if isinstance(value, (ast.Tuple, ast.List)) else []


def verbs_of(name: str) -> set[str]:
    """Name the verbs that a test runs, by their own names."""
    module, _, function = name.partition(".")
    text = (kit.ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
    return {ALIASES.get(word, word) for word in Module(text).verbs(function)}


def test_every_verb_is_here_and_nothing_else() -> None:
    assert SNAPSHOTS.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", SNAPSHOTS)
def test_its_tests_are_there_and_call_it(verb: str) -> None:
    for name in SNAPSHOTS[verb]:
        assert verb in verbs_of(name), name


@pytest.mark.parametrize(
    "code",
    [
        "def test_it(stand):\n    assert '\"tree\"' != 'tree'",
        "def test_it(stand):\n    stand('show', 'tree')",
        "def test_it(stand):\n    re.sub('tree', '', 'tree')",
        "@pytest.mark.parametrize('words', [('show', 'tree')])\ndef test_it(stand, words):\n    stand(*words)",
        "@pytest.mark.parametrize('words', [('tree',)])\ndef test_it(stand, words):\n    stand('show')",
        "def test_it(stand):\n    stand('show')\ndef test_other(stand):\n    stand('tree')",
    ],
)
def test_a_verb_that_is_only_mentioned_is_not_called(code: str) -> None:
    assert "tree" not in Module(code).verbs("test_it")
