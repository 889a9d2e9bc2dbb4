"""A system call filter for sandboxes: what reaches past namespaces, or has been the kernel's weak side, is refused.

A classic BPF program as seccomp(2) takes it. Numbers are those of the kernel's `unistd` tables; other machines get no
filter, as a wrong number would refuse something else.
"""

import errno
import struct

NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "bpf": 321,
        "userfaultfd": 323,
        "perf_event_open": 298,
        "open_by_handle_at": 304,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
        "pidfd_getfd": 438,
        "kexec_load": 246,
        "init_module": 175,
        "finit_module": 313,
    },
    "aarch64": {
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "bpf": 280,
        "userfaultfd": 282,
        "perf_event_open": 241,
        "open_by_handle_at": 265,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
        "pidfd_getfd": 438,
        "kexec_load": 104,
        "init_module": 105,
        "finit_module": 273,
    },
}
"""Refused calls. The key calls would show the host session's keys, which no namespace hides."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
"""Bit of the x32 numbers, under which every call of x86_64 has a second name."""

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM


def program(machine: str) -> bytes | None:
    """Return the filter for a machine as `platform.machine()` names it, None for one we have no numbers of."""
    if machine not in NUMBERS:
        return None
    refused = sorted(NUMBERS[machine].values())
    tests = [(_AT_LEAST, _X32)] if machine == "x86_64" else []
    tests += [(_EQUAL, number) for number in refused]
    # A call of another architecture, such as 32-bit, has numbers of its own: none of them is let through.
    lines = [_op(_LOAD, _ARCHITECTURE_AT), _op(_EQUAL, _ARCHITECTURES[machine], miss=len(tests) + 2)]
    lines.append(_op(_LOAD, _NUMBER_AT))
    for index, (test, value) in enumerate(tests):
        lines.append(_op(test, value, hit=len(tests) - index))
    return b"".join([*lines, _op(_RETURN, _ALLOW), _op(_RETURN, _REFUSE)])


def _op(code: int, value: int, *, hit: int = 0, miss: int = 0) -> bytes:
    return struct.pack("=HBBI", code, hit, miss, value)
