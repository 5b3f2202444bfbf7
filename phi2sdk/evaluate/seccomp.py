"""The filter of system calls for programs in the sandbox.

The other limits of the sandbox hold for each process, and the kernel does not limit the number of
processes of the administrator. The filter therefore refuses new processes and threads. It also
refuses memory that the limit of the address space does not count, and calls that a Python program
does not need and that give access to large parts of the kernel.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Mapping

SYSTEM_CALLS: Mapping[str, tuple[int | None, int | None]] = {
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "clone3": (435, 435),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "mq_open": (240, 180),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
}
"""The calls that are refused, with their numbers on x86-64 and on 64-bit Arm (``asm/unistd.h``)."""

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column of ``SYSTEM_CALLS`` and the AUDIT_ARCH of a machine."""
_X32 = 0x40000000  # calls of the x32 ABI have this bit
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data


def filter_program(machine: str | None = None) -> bytes | None:
    """Return the filter as compiled BPF; ``None`` if the numbers of the machine are unknown.

    Args:
        machine: The architecture, as ``platform.machine()`` names it (default: this machine).
    """
    known = _ARCHITECTURES.get(machine or platform.machine())
    if known is None:
        return None
    column, architecture = known
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, architecture, if_true=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
    ]
    if column == 0:
        program += _refusal(_AT_LEAST, _X32, _EPERM)
    for name, numbers in SYSTEM_CALLS.items():
        number = numbers[column]
        if number is not None:
            # Without clone3 the C library falls back to clone, which is refused as forbidden.
            program += _refusal(_EQUAL, number, _ENOSYS if name == "clone3" else _EPERM)
    return b"".join([*program, _instruction(_RETURN, _ALLOW)])


def _refusal(comparison: int, number: int, error: int) -> list[bytes]:
    return [
        _instruction(comparison, number, if_false=1),
        _instruction(_RETURN, _ERRNO | error),
    ]


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
