"""Accelerators, as data: what shows that a driver is here, and what code says that misses one."""

from __future__ import annotations

import re
from glob import iglob

from envbuilder.tuples import NamedTuple

_LACKS = (
    r"(?:can ?not|can't|could ?n(?:o|')t|unable|fail|no such|missing|error loading|not (?:found|available|installed))"
)


def _gone(library: str) -> str:
    """Match what is said when a library is not there; its name alone says nothing."""
    return rf"(?:{library}\.so[\w.]*['\"`]?.{{0,40}}{_LACKS}|{_LACKS}.{{0,60}}{library}\.so)"


class Device(NamedTuple):
    """A kind of accelerator.

    `nodes` are patterns of files that are there when its driver is; `errors` are regular expressions for what drivers
    and frameworks say without it.
    """

    name: str
    nodes: tuple[str, ...]
    errors: tuple[str, ...]


CUDA = Device(
    name="CUDA",
    nodes=("dev/nvidia[0-9]*", "dev/nvidiactl", "proc/driver/nvidia/version", "dev/dxg"),
    errors=(
        _gone(r"libcuda"),
        _gone(r"libnvidia-ml"),
        _gone(r"libnvcuvid"),
        r"no cuda gpus? (?:are|is) available",
        r"no cuda-capable device",
        r"found no nvidia (?:driver|gpu)",
        r"cuda driver version is insufficient",
        r"cuda driver initialization failed",
        r"cuda_error_no_device",
        r"cudaerrornodevice",
        r"nvml shared library not found",
        r"failed to initialize nvml",
        r"nvml(?:error_)?_?(?:librarynotfound|library_not_found|drivernotloaded|driver_not_loaded)",
        r"\b0 active drivers\b",
        r"unexpected error from cudagetdevicecount",
        r"cuda unknown error",
        r"cuda driver library cannot be found",
        r"no supported devices found for platform cuda",
        r"nvidia driver on your system is too old",
        rf"{_LACKS}.{{0,60}}nvidia-smi|nvidia-smi['\"`]?:? (?:command )?not found",
    ),
)
ROCM = Device(
    name="ROCm",
    nodes=("dev/kfd",),
    errors=(
        _gone(r"libamdhip64"),
        _gone(r"libamd_smi"),
        r"no hip gpus? (?:are|is) available",
        r"no rocm-capable device",
        r"hip_?error_?no_?device",
        r"/dev/kfd",
    ),
)
NPU = Device(
    name="NPU",
    nodes=("dev/davinci[0-9]*", "dev/davinci_manager"),
    errors=(
        _gone(r"libascend_hal"),
        _gone(r"libascendcl"),
        _gone(r"libdrvdsmi_host"),
        _gone(r"libdcmi"),
        _gone(r"libnpu[\w-]*"),
        r"no npus? (?:are|is|device)",
        r"npu driver",
    ),
)
XPU = Device(
    name="XPU",
    nodes=("dev/dri/renderD*",),
    errors=(
        _gone(r"libze_loader"),
        _gone(r"libze_intel_gpu"),
        r"no xpu devices? (?:are|is) available",
        r"no device of requested type available",
        r"pi_error_device_not_found",
        r"ur_result_error_device_not_found",
    ),
)
HPU = Device(
    name="HPU",
    nodes=("dev/accel/accel[0-9]*", "dev/hl[0-9]*"),
    errors=(
        _gone(r"libhl-thunk"),
        _gone(r"libhl_logger"),
        _gone(r"libsynapse"),
        r"no hpu devices?",
        r"synstatus\s*\W?\s*\d+",
    ),
)
TPU = Device(
    name="TPU",
    nodes=("dev/accel[0-9]*", "dev/vfio/[0-9]*"),
    errors=(_gone(r"libtpu"), r"no tpu (?:devices?|platform)", r"failed to (?:open|initialize) .*\btpu\b"),
)
NEURON = Device(name="Neuron", nodes=("dev/neuron[0-9]*",), errors=(_gone(r"libnrt"), r"no neuron device"))

_KNOWN = (CUDA, ROCM, NPU, XPU, HPU, TPU, NEURON)
ANY = Device(
    name="any accelerator",
    nodes=tuple(node for device in _KNOWN for node in device.nodes),
    errors=(
        r"failed to infer device type",
        r"no accelerators? (?:is|are|was|were) (?:available|found)",
        r"cannot access accelerator device when none is available",
        # what asks for the device's capability gets None
        r"'nonetype' object has no attribute '(?:major|minor|to_int|as_version_str)'",
    ),
)
DEVICES = (*_KNOWN, ANY)


def missing_device(text: str, *, root: str = "/") -> Device | None:
    """Return the device whose lack `text` speaks of, if the machine (its files are at `root`) has no driver."""
    for device in DEVICES:
        if re.search("|".join(device.errors), text, re.IGNORECASE) and not _is_here(device, root):
            return device
    return None


def _is_here(device: Device, root: str) -> bool:
    return any(next(iglob(node, root_dir=root), None) for node in device.nodes)
