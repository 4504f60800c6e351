"""What shared state costs: median, p99, p99.9 and maximum of each operation, in microseconds.

    .venv/bin/python bench/state_engines.py [--seconds 1] [--engine memory] [--engine node] [--markdown]

Two modes, both with 2 processes of 16 threads (the memory engine: one process, it shares nothing):
busy: every thread computes in pure Python without a pause, so a thread also waits for its turn on the interpreter,
    whatever it does; an operation is about as long as the section of it in which it can lose that turn.
gateway: each thread serves "requests" of about 45 microseconds of Python with system calls in between, and makes the
    operation in the middle of one. Their rate is steered to keep each process 70 % busy. What is reported is the
    operation, not the request.

All threads work on the same record: one hot limit, one cursor, one breaker. `key` is a record of 20,000, a handle made
each time. `put`, `get` and `scan` are documents. Times are taken around each call with perf_counter_ns, whose own
cost (about 0.1 microseconds) is in them. Each process is pinned to a processor of its own where there are enough.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.clock import SystemClock
from gateway.state.engines import Engine
from gateway.state.engines.memory import MemoryEngine
from gateway.state.engines.node import NodeEngine, create_segment, prepare
from gateway.state.operations.bucket import TAKE
from gateway.state.operations.lease import ACQUIRE, RELEASE
from gateway.state.operations.sequence import NEXT
from gateway.state.operations.window import HIT

PROCESSES, THREADS = 2, 16
SIZE = 64 * 1024**2
REQUEST, LOAD = 45e-6, 0.7  # seconds of processor time of a request; share of a processor that requests take
SYSTEM_CALLS = 12e-6  # seconds of it that waking up and four messages take

Step = Callable[[], object]
Times = list[int]  # nanoseconds


def steps(engine: Engine) -> dict[str, Callable[[], Step]]:
    """For each operation what makes a thread's step."""
    rnd = random.Random()
    clients = [f"client-{number}" for number in range(20_000)]
    counters = engine.counters("requests", held=False)
    row, column = counters.row, counters.column("a")

    def sequence() -> Step:
        record = engine.record(NEXT, "cursor")
        return lambda: record.apply(NEXT)

    def bucket() -> Step:
        record = engine.record(TAKE, "hot")
        return lambda: record.apply(TAKE, 1e9, 1e9)

    def refused() -> Step:
        record = engine.record(TAKE, "empty")
        return lambda: record.apply(TAKE, 1e-9, 1.0)

    def window() -> Step:
        record = engine.record(HIT, "hot")
        return lambda: record.apply(HIT, 1e9, 60.0)

    def key() -> Step:
        return lambda: engine.record(TAKE, rnd.choice(clients)).apply(TAKE, 1e9, 1e9)

    def lease() -> Step:
        record = engine.record(ACQUIRE, "probe")

        def step() -> None:
            token = record.apply(ACQUIRE, 10.0, 16).token
            if token:
                record.apply(RELEASE, token)

        return step

    def read() -> Step:
        return engine.record(TAKE, "hot").read

    def stamp() -> Step:
        record = engine.record(TAKE, "hot")
        record.read()
        return record.stamp

    def count() -> Step:
        def step() -> None:
            row[column] += 1

        return step

    return {
        "sequence": sequence,
        "bucket": bucket,
        "bucket, refused": refused,
        "bucket, key": key,
        "window": window,
        "lease + release": lease,
        "read": read,
        "stamp": stamp,
        "version": lambda: lambda: engine.version("registrations"),
        "count": count,
        "total": lambda: lambda: counters.total(column),
        "get": lambda: lambda: engine.get("registrations/echo/1"),
        "scan of 20": lambda: lambda: engine.scan("registrations/"),
    }


def compute(rounds: int) -> int:
    number = 0
    for turn in range(rounds):
        number += turn
    return number


def rounds_per_second() -> float:
    return 20_000 / min(_timed(20_000) for _ in range(20))


def _timed(rounds: int) -> float:
    began = time.perf_counter()
    compute(rounds)
    return time.perf_counter() - began


class Run:
    """What the threads of one measurement share: whether to go on, how fast this machine is, how long to pause."""

    def __init__(self, speed: float) -> None:
        self.on = True
        self.speed = speed  # rounds of `compute` a second
        self.pause = THREADS * REQUEST / LOAD  # seconds between two requests of a thread

    def steer(self, seconds: float) -> float:
        """Let the threads run that long, at the load that is wanted. The load that it was."""
        begin, cpu_begin = time.perf_counter(), time.process_time()
        before, cpu_before = begin, cpu_begin
        while before - begin < seconds:
            time.sleep(0.05)
            now, cpu = time.perf_counter(), time.process_time()
            load = (cpu - cpu_before) / (now - before)
            self.pause *= min(1.5, max(0.6, load / LOAD))
            before, cpu_before = now, cpu
        return (cpu_before - cpu_begin) / (before - begin)


def busy(step: Step, times: Times, run: Run) -> None:
    now, rounds = time.perf_counter_ns, int(20e-6 * run.speed)
    while run.on:
        began = now()
        step()
        times.append(now() - began)
        compute(rounds)


def gateway(step: Step, times: Times, run: Run) -> None:
    """A request: woken by the network, some Python, a message to the backend and back, the operation, some Python."""
    now, rnd = time.perf_counter_ns, random.Random()
    ours, theirs = socket.socketpair()
    rounds = int((REQUEST - SYSTEM_CALLS) / 2 * run.speed)
    while run.on:
        time.sleep(rnd.expovariate(1 / run.pause))
        compute(rounds)
        ours.send(b"x")
        theirs.recv(1)
        began = now()
        step()
        times.append(now() - began)
        compute(rounds)
        theirs.send(b"x")
        ours.recv(1)
    ours.close()
    theirs.close()


MODES = {"busy": busy, "gateway": gateway}


def measure(engine: Engine, mode: str, name: str, seconds: float, speed: float) -> tuple[Times, float]:
    """Times of all threads of this process, and how busy it was."""
    make, all_times, run = steps(engine)[name], [[] for _ in range(THREADS)], Run(speed)
    threads = [threading.Thread(target=MODES[mode], args=(make(), times, run)) for times in all_times]
    for thread in threads:
        thread.start()
    run.steer(0.4)
    for times in all_times:
        times.clear()
    load = run.steer(seconds)
    run.on = False
    for thread in threads:
        thread.join()
    return [one for times in all_times for one in times], load


def in_processes(open_engine: Callable[[int], Engine], processes: int, work: Callable[[Engine], Any]) -> list[Any]:
    pipes, processors = [], sorted(os.sched_getaffinity(0))
    for number in range(processes):
        reader, writer = os.pipe()
        if os.fork() == 0:
            if len(processors) >= processes:
                os.sched_setaffinity(0, {processors[number]})
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(work(open_engine(number)), pipe)
            os._exit(0)
        os.close(writer)
        pipes.append(reader)
    results = []
    for reader in pipes:
        with os.fdopen(reader, "rb") as pipe:
            results.append(pickle.load(pipe))
        os.wait()
    return results


def table(kind: str, mode: str, seconds: float, speed: float) -> list[tuple[str, ...]]:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "state"
        folder = segment_fd = None
        if kind == "node":
            folder, segment_fd = prepare(path, SIZE), create_segment(SIZE)

        def open_engine(slot: int) -> Engine:
            return (
                MemoryEngine(SIZE, SystemClock())
                if kind == "memory"
                else NodeEngine(path, SIZE, SystemClock(), segment_fd, slot)
            )

        def fill(engine: Engine) -> None:
            for number in range(20):
                engine.put(f"registrations/echo/{number}", bytes(200))

        def work(engine: Engine, operation: str) -> tuple[Times, float]:
            if kind == "memory":
                fill(engine)
            return measure(engine, mode, operation, seconds, speed)

        if kind == "node":
            in_processes(open_engine, 1, fill)
        for operation in steps(MemoryEngine(SIZE, SystemClock())):
            results = in_processes(
                open_engine, PROCESSES if kind == "node" else 1, lambda engine, op=operation: work(engine, op)
            )
            times = sorted(one for part, _ in results for one in part)
            load = sum(part for _, part in results) / len(results)
            rows.append((operation, *(_microseconds(times, share) for share in (0.5, 0.99, 0.999, 1)),
                         f"{len(times):,}", f"{load:.0%}"))  # fmt: skip
        if folder is not None and segment_fd is not None:
            os.close(segment_fd)
            folder.close()
    return rows


def _microseconds(times: Times, share: float) -> str:
    value = times[min(len(times) - 1, int(len(times) * share))] / 1000
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--engine", action="append", choices=["memory", "node"])
    parser.add_argument("--mode", action="append", choices=sorted(MODES))
    options = parser.parse_args()
    speed = rounds_per_second()
    for kind in options.engine or ["memory", "node"]:
        for mode in options.mode or ["gateway", "busy"]:
            print(f"\n**{kind}**, mode {mode} (µs)\n")
            print("| operation | median | p99 | p99.9 | max | calls | busy |\n|---|---:|---:|---:|---:|---:|---:|")
            for row in table(kind, mode, options.seconds, speed):
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
