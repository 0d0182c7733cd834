"""Stand-ins for the parts of engines that plugins are written against: their names, and what they do with a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kit

if TYPE_CHECKING:
    from collections.abc import Mapping

_REGISTRY = """
class ModelRegistry:
    known = {}

    @classmethod
    def get_supported_archs(cls):
        return list(cls.known)

    @classmethod
    def register_model(cls, architecture, path):
        cls.known[architecture] = path
"""
_MAIN = "from fastdeploy.worker import main\n\nmain()\n"
VLLM = {
    "vllm/__init__.py": f"from vllm.version import __version__\n{_REGISTRY}",
    "vllm/v1/sample/logits_processor/__init__.py": "class LogitsProcessor: ...\n",
    "vllm/v1/sample/logits_processor/builtin.py": "def process_dict_updates(entries, update, make): ...\n",
    "vllm/v1/worker/gpu/sample/logits_processor/__init__.py": "class LogitsProcessor: ...\n",
    "vllm/v1/metrics/loggers.py": "class StatLoggerBase: ...\n",
}
FASTDEPLOY = {
    "paddleformers/transformers.py": "class PretrainedModel: ...\n",
    "fastdeploy/config.py": """
class ErnieArchitectures:
    @classmethod
    def register_ernie_model_arch(cls, model): ...
""",
    "fastdeploy/model_executor/models/model_base.py": """
class ModelForCasualLM: ...


class ModelRegistry:
    models, pretrained = {}, {}

    @classmethod
    def get_supported_archs(cls):
        return list(cls.models)

    @classmethod
    def register_model_class(cls, model=None, *, architecture=None, module_name=None, module_path=None):
        cls.models[model.name()] = model

    @classmethod
    def register_pretrained_model(cls, model):
        cls.pretrained[model.arch_name()] = model

    @classmethod
    def get_class(cls, name):
        return cls.models[name]
""",
    "fastdeploy/model_executor/models/qwen2.py": """
from fastdeploy.model_executor.models.model_base import ModelForCasualLM
from paddleformers.transformers import PretrainedModel


class Qwen2ForCausalLM(ModelForCasualLM): ...


class Qwen2PretrainedModel(PretrainedModel): ...
""",
    "fastdeploy/worker/gpu_model_runner.py": "class GPUModelRunner: ...\n",
}


def with_vllm(base: kit.Base) -> kit.Base:
    """Put a stand-in for vLLM into a base."""
    kit.fake_vllm(base, "0.33.0")
    return _with(base, VLLM)


def with_fastdeploy(base: kit.Base) -> kit.Base:
    """Put a stand-in for FastDeploy into a base; what its processes do stands in a module that is a package here."""
    kit.fake_fastdeploy(base)
    package = base.purelib / "fastdeploy" / "worker"
    text = package.with_suffix(".py").read_text()
    package.with_suffix(".py").unlink()
    return _with(base, {**FASTDEPLOY, "fastdeploy/worker/__init__.py": text, "fastdeploy/worker/__main__.py": _MAIN})


def _with(base: kit.Base, files: Mapping[str, str]) -> kit.Base:
    for name, text in files.items():
        path = base.purelib / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return base
