"""What /proc/cpuinfo says of several processors, shortened to the lines and flags that matter."""

import pytest

from app.vision.processor import describe, preferred_precision, read_cpuinfo

SAPPHIRE_RAPIDS = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse2 avx2 fma avx512f avx512bw avx512vl avx_vnni avx512_bf16 avx512_vnni amx_int8
vmx flags\t: vnmi preemption_timer avx512_vnni

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse2 avx2 fma avx512f avx512bw avx512vl avx_vnni avx512_bf16 avx512_vnni amx_int8
"""
ALDER_LAKE_N = "model name\t: Intel(R) N100\nflags\t\t: fpu sse2 avx2 fma avx_vnni\n"
ZEN_4 = "model name\t: AMD Ryzen 7 7840U\nflags\t\t: fpu avx2 fma avx512f avx512_vnni\n"
ZEN_3 = "model name\t: AMD Ryzen 5 5600G with Radeon Graphics\nflags\t\t: fpu sse2 avx2 fma vaes\n"
HASWELL = "model name\t: Intel(R) Core(TM) i5-4590 CPU @ 3.30GHz\nflags\t\t: fpu sse2 avx avx2 fma\n"
SKYLAKE_X = "model name\t: Intel(R) Xeon(R) Gold 6130\nflags\t\t: fpu avx2 fma avx512f avx512bw avx512vl\n"
RASPBERRY_PI_5 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

Revision\t: c04170
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
RASPBERRY_PI_4 = "Features\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"
RISC_V = "processor\t: 0\nhart\t\t: 1\nisa\t\t: rv64imafdc\nmmu\t\t: sv39\n"


@pytest.mark.parametrize("cpuinfo", [SAPPHIRE_RAPIDS, ALDER_LAKE_N, ZEN_4, RASPBERRY_PI_5])
def test_integers_where_every_core_has_a_dot_product(cpuinfo: str) -> None:
    assert preferred_precision(cpuinfo) == "int8"


@pytest.mark.parametrize("cpuinfo", [ZEN_3, HASWELL, SKYLAKE_X, RASPBERRY_PI_4])
def test_floats_where_none_has(cpuinfo: str) -> None:
    assert preferred_precision(cpuinfo) == "fp32"


@pytest.mark.parametrize("cpuinfo", ["", RISC_V, "flags\n", "no colon anywhere"])
def test_floats_where_nothing_is_known(cpuinfo: str) -> None:
    assert preferred_precision(cpuinfo) == "fp32"


def test_one_core_without_is_enough_for_floats() -> None:
    assert preferred_precision(RASPBERRY_PI_5 + "\n" + RASPBERRY_PI_4) == "fp32"


def test_a_flag_counts_as_a_whole_word_of_the_right_line() -> None:
    assert preferred_precision("flags\t\t: avx2 avx512_vnni2\n") == "fp32"
    assert preferred_precision("flags\t\t: avx2\nvmx flags\t: avx512_vnni\n") == "fp32"


def test_a_processor_in_words() -> None:
    assert describe(SAPPHIRE_RAPIDS) == "Intel(R) Xeon(R) Processor, avx512_vnni, avx_vnni"
    assert describe(ZEN_3) == "AMD Ryzen 5 5600G with Radeon Graphics, no integer dot product"
    assert describe(RASPBERRY_PI_5) == "0xd0b, asimddp"
    assert describe("") == "unknown processor, no integer dot product"


def test_this_machine_is_read() -> None:
    assert preferred_precision(read_cpuinfo()) in ("int8", "fp32")
