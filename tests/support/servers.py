"""servers.py: starts servers on free ports in directories of their own, and ends them by their pid.

A server dies with its starter even if that is killed: it asks the kernel for a SIGTERM at the parent's death.
"""

import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 20
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class StartError(Exception):
    """The server did not come up; the text holds its output."""


def shoal_binary():
    build = os.path.abspath(os.environ.get("SHOAL_BUILD") or os.path.join(ROOT, "build"))
    return os.environ.get("SHOAL_SERVER") or os.path.join(build, "server", "shoal-server")


def free_port():
    """Below the ports that the kernel gives to outgoing connections, so that a server finds it free again after a crash."""
    while True:
        port = random.SystemRandom().randrange(10240, 32768)  # the tests have seeded the common one
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end_by_exception(number, _frame):
    """A signal handler that lets the finally blocks run."""
    sys.exit(128 + number)


def end_orderly_on_signals():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_by_exception)


class Process:
    """A process with its own directory, its output in a file, and an end."""

    def __init__(self, command, directory=None, wrapper=()):
        self.own_directory = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="shoal-test-")
        self.output_path = os.path.join(self.directory, "output.log")
        self.command = [*wrapper, *command]
        self.spawn()

    def spawn(self):
        with open(self.output_path, "ab") as output:
            self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                          cwd=self.directory, preexec_fn=die_with_parent)
        self.pid = self.child.pid

    def output(self):
        with open(self.output_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def is_alive(self):
        return self.child.poll() is None

    def wait(self, seconds):
        """The exit status, or None if it still runs after that time."""
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, number=signal.SIGTERM):
        """Ends it and removes its directory. Returns the exit status."""
        if self.is_alive():
            self.child.send_signal(number)
            if self.wait(STOP_SECONDS_MAX) is None:
                self.child.kill()
        status = self.child.wait()
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.stop()


class Server(Process):
    """A server that answers PING on self.port, and has loaded what it found there unless `may_load`."""

    def __init__(self, binary, arguments, wrapper=(), directory=None, may_load=False):
        self.port = free_port()
        self.may_load = may_load
        own = directory or tempfile.mkdtemp(prefix="shoal-test-")
        super().__init__([binary, "--port", str(self.port), "--dir", own, *arguments], own, wrapper)
        self.own_directory = directory is None
        try:
            self.wait_until_it_answers()
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    def restart(self):
        """After a crash: again with the same command, port and directory."""
        self.spawn()
        self.wait_until_it_answers()

    def wait_until_it_answers(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if not self.is_alive():
                raise StartError(f"{self.child.args} ended with {self.child.returncode}:\n{self.output()}")
            try:
                with self.connect(1) as s:
                    s.sendall(b"PING\r\n")
                    answer = s.recv(64)
                    if answer and (self.may_load or not answer.startswith(b"-LOADING")):
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise StartError(f"{self.child.args} does not answer:\n{self.output()}")

    def connect(self, timeout=30):
        s = socket.create_connection(("127.0.0.1", self.port), timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def cpu_seconds(self):
        """What its threads ran so far, to the nanosecond; the clock of /proc/PID/stat ticks in steps of 10 ms."""
        tasks = f"/proc/{self.pid}/task"
        ran_ns = 0
        for task in os.listdir(tasks):
            try:
                with open(f"{tasks}/{task}/schedstat", encoding="ascii") as f:
                    ran_ns += int(f.read().split()[0])
            except OSError:  # it has just ended
                continue
        return ran_ns / 1e9

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def redis_server(*arguments, wrapper=(), directory=None):
    binary = shutil.which("redis-server")
    if binary is None:
        raise StartError("redis-server is not installed")
    return Server(binary, ["--save", "", "--appendonly", "no", *arguments], wrapper, directory)


def shoal_server(*arguments, wrapper=(), directory=None, may_load=False):
    binary = shoal_binary()
    if not os.path.exists(binary):
        raise StartError(f"{binary} is not there: build first, or set SHOAL_BUILD")
    more = os.environ.get("SHOAL_ARGUMENTS", "").split()  # for a whole run with other settings
    return Server(binary, ["--save", "", *more, *arguments], wrapper, directory, may_load)
