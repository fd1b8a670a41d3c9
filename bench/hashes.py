"""Implementations of scrypt compared, as the server would use them: ``python -m bench.hashes [seconds]``."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from nacl.bindings import crypto_pwhash_scryptsalsa208sha256_ll

from fxa_auth.onepw import KEY_LENGTH, SCRYPT_N, SCRYPT_P, SCRYPT_R

ROUNDS = 3
_MAX_MEMORY = 256 * SCRYPT_N * SCRYPT_R
_PASSWORD, _SALT = b"p" * 32, b"s" * 32


def with_hashlib() -> bytes:
    return hashlib.scrypt(
        _PASSWORD, salt=_SALT, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, maxmem=_MAX_MEMORY, dklen=KEY_LENGTH
    )


def with_cryptography() -> bytes:
    return Scrypt(salt=_SALT, length=KEY_LENGTH, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(_PASSWORD)


def with_pynacl() -> bytes:
    hashed: bytes = crypto_pwhash_scryptsalsa208sha256_ll(
        _PASSWORD, _SALT, SCRYPT_N, SCRYPT_R, SCRYPT_P, KEY_LENGTH, _MAX_MEMORY
    )
    return hashed


def rate(work: Callable[[], bytes], threads: int, seconds: float) -> float:
    """Hashes a second on so many threads."""
    end = time.monotonic() + seconds

    def repeat() -> tuple[int, float]:
        done = 0
        while time.monotonic() < end:
            work()
            done += 1
        return done, time.monotonic()

    start = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        results = [future.result() for future in [pool.submit(repeat) for _ in range(threads)]]
    return sum(done / (ended - start) for done, ended in results)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    ways = {"hashlib": with_hashlib, "cryptography": with_cryptography, "PyNaCl": with_pynacl}
    assert len({work() for work in ways.values()}) == 1, "they must agree"
    counts = sorted({1, os.cpu_count() or 1})
    best: dict[tuple[str, int], float] = {}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            for threads in counts:
                best[name, threads] = max(best.get((name, threads), 0), rate(work, threads, seconds))
    for (name, threads), hashes in best.items():
        print(f"{name:13} {threads} thread(s)   {hashes:5.1f} hashes/s (best of {ROUNDS} rounds)", flush=True)


if __name__ == "__main__":
    main()
