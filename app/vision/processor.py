"""Whether this processor multiplies 8-bit integers fast and exactly; where that is not known, nets run in float32.

The runtime's integer convolutions take unsigned activations times signed weights. x86 without VNNI adds pairs of such
products in 16 bits, which overflow: 255 x 127 x 2 = 64,770 where 32,767 is the end. That goes wrong without a word, so
there the float nets are taken; on arm64 without the dot product integers are exact, but no faster.
"""

from collections.abc import Container
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# /proc/cpuinfo names: one 32-bit sum of four products, on x86 (512 or 256 bits wide) and on arm64.
DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})
CAPABILITIES = ("flags", "Features")  # the line that lists them, on x86 and on arm64
MODELS = ("model name", "CPU part")


def read_cpuinfo() -> str:
    """Return what the kernel tells about the processor; nothing where it tells nothing, as on other systems."""
    try:
        return CPUINFO.read_text(errors="replace")
    except OSError:
        return ""


def preferred_precision(cpuinfo: str) -> str:
    """Return ``int8`` when every core of a /proc/cpuinfo has an integer dot product, else ``fp32``.

    Every core: a thread of a processor with two kinds of cores may run on either.
    """
    cores = [set(value.split()) for value in _values(cpuinfo, CAPABILITIES)]
    return "int8" if cores and all(core & DOT_PRODUCTS for core in cores) else "fp32"


def suited_precision(offered: Container[str]) -> str:
    """Return the precision of those that a card offers that suits this processor; every card has ``fp32``."""
    preferred = preferred_precision(read_cpuinfo())
    return preferred if preferred in offered else "fp32"


def describe(cpuinfo: str) -> str:
    """Return model and dot products of a /proc/cpuinfo in words, for those who compare measurements."""
    models = list(dict.fromkeys(_values(cpuinfo, MODELS))) or ["unknown processor"]
    named = {name for value in _values(cpuinfo, CAPABILITIES) for name in value.split()}
    return ", ".join([" and ".join(models), *(sorted(named & DOT_PRODUCTS) or ["no integer dot product"])])


def _values(cpuinfo: str, names: tuple[str, ...]) -> list[str]:
    """Return what stands behind the colon of each line that begins with one of these names."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return [value.strip() for name, _, value in lines if name.strip() in names]
