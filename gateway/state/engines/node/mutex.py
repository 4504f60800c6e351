"""Mutexes in shared memory that outlive their holders and are held without giving up the GIL.

A robust, process-shared pthread mutex: when its holder dies, the kernel hands it to the next taker with EOWNERDEAD.
What it guards here is whole at every moment (see records.py), so such a mutex is simply declared consistent.

`trylock[address]` and `unlock[address]` are the C functions themselves, called through a subscript: CPython may switch
threads after a call, never after a subscript. A section without calls and loops is therefore never interrupted by
another thread of its process, which could keep the GIL, and with it the mutex, for many milliseconds:

    if trylock[address]:
        wait(address)
    ...                                   # subscripts, arithmetic, comparisons
    unlock[address]

`PyDLL` does not release the GIL around the C call, as `CDLL` would. Nothing here depends on the GIL for being
right, only for being fast.
"""

from __future__ import annotations

import ctypes
import errno
import time

from gateway.errors import StoreUnavailable

SIZE = 64  # bytes set aside for one; pthread_mutex_t takes 40 to 48 on the 64-bit platforms of glibc and musl

_PROCESS_SHARED = _ROBUST = 1  # PTHREAD_PROCESS_SHARED, PTHREAD_MUTEX_ROBUST of glibc and musl
_SPINS = 20  # attempts that hold the GIL: another processor leaves its section within a microsecond
_YIELDS = 100  # attempts that hold the GIL but offer the processor: the holder may wait for this very one
_NAP, _LONGEST_NAP = 50e-6, 1e-3  # seconds; then the holder is not running, and this process's threads get their turn
_PATIENCE = 2.0  # seconds

_libc = ctypes.PyDLL(None)
for _name in ("trylock", "unlock", "consistent"):
    getattr(_libc, f"pthread_mutex_{_name}").argtypes = [ctypes.c_void_p]
_libc.pthread_mutex_init.argtypes = [ctypes.c_void_p, ctypes.c_void_p]


class _TryLock:
    __getitem__ = _libc.pthread_mutex_trylock


class _Unlock:
    __getitem__ = _libc.pthread_mutex_unlock


trylock = _TryLock()  # trylock[address]: 0 when taken, else wait(address, code)
unlock = _Unlock()


def initialise(addresses: range) -> None:
    """Make the zeroed memory at each address a mutex; once, before anybody else can see it."""
    attributes = ctypes.create_string_buffer(64)  # pthread_mutexattr_t takes 4 to 8 bytes
    _libc.pthread_mutexattr_init(attributes)
    _libc.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED)
    _libc.pthread_mutexattr_setrobust(attributes, _ROBUST)
    for address in addresses:
        _libc.pthread_mutex_init(address, attributes)
    _libc.pthread_mutexattr_destroy(attributes)


def wait(address: int, code: int) -> bool:
    """Take a mutex that `trylock` did not take with 0. True when its last holder died holding it.

    Raises StoreUnavailable when it is not to be had within two seconds (its holder is stopped).
    """
    attempt, until = 0, 0.0
    while True:
        if code == 0:
            return False
        if code == errno.EOWNERDEAD:
            _libc.pthread_mutex_consistent(address)
            return True
        if code != errno.EBUSY:
            raise StoreUnavailable(f"a lock of the shared state cannot be taken: {errno.errorcode.get(code, code)}")
        attempt += 1
        if attempt > _SPINS + _YIELDS:
            now = time.monotonic()
            until = until or now + _PATIENCE
            if now > until:
                raise StoreUnavailable(f"a lock of the shared state was held for {_PATIENCE:g} seconds")
            time.sleep(min(_NAP * (attempt - _SPINS - _YIELDS), _LONGEST_NAP))
        elif attempt > _SPINS:
            _libc.sched_yield()
        code = trylock[address]
