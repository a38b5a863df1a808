# SPDX-License-Identifier: MIT
"""Runs in the guest: inside.py PLAN PORT. Runs the plan's checks, some at a time, and says on a serial port of its
own how each ended, a line of JSON each: `booted`, `end` for each check, `over`."""
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

SECONDS_TO_CLEAN_UP = 15
MOST_OUTPUT = 40000
NOTE = re.compile(r"^RESULT (.*)$", re.MULTILINE)
# What no check provokes.
TROUBLE = re.compile(r"WARNING: |BUG: |kernel BUG|Oops|general protection|Call Trace|blocked for more than|"
                     r"BTRFS( \S+)?( \(device [^)]*\))?:? ?(error|critical|alert|emerg|panic)|"
                     r"BTRFS (error|critical|alert|emerg)|EXT4-fs error|Out of memory|I/O error")
MOST_TROUBLE_LINES = 200


class Port:
    """The line to the outside."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="ascii", buffering=1)
        self.lock = threading.Lock()

    def say(self, event, **fields):
        with self.lock:
            self.file.write(json.dumps({"event": event, **fields}) + "\n")


class KernelLog:
    """What the kernel says from now on."""

    def __init__(self):
        self.descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.descriptor, 0, os.SEEK_END)

    def lines(self):
        while True:
            try:
                record = os.read(self.descriptor, 8192).decode(errors="replace")
            except BlockingIOError:
                return
            except BrokenPipeError:  # some were overwritten
                continue
            yield record.partition(";")[2].splitlines()[0]

    def trouble(self):
        """From the first line of trouble on, or nothing."""
        lines = list(self.lines())
        for number, line in enumerate(lines):
            if TROUBLE.search(line):
                return lines[number:number + MOST_TROUBLE_LINES]
        return []


def run(check, plan):
    """Runs a check to its end, however that comes. Returns (outcome, output)."""
    environment = {**os.environ, "SKEP_BINARY": plan["skep"], "SKEP_REQUIRE_FS": "1", "TMPDIR": "/tmp",
                   "SKEP_TEST_SLOWDOWN": str(plan["slowdown"]), "PYTHONUNBUFFERED": "1",
                   "SKEP_TEST_SECONDS": str(check["seconds"] - SECONDS_TO_CLEAN_UP)}
    process = subprocess.Popen(check["command"], cwd=check["folder"], env=environment, text=True, errors="replace",
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    try:
        output, _ = process.communicate(timeout=check["seconds"])
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return "TIMEOUT", f"not within {check['seconds']} s"
    if process.returncode == -signal.SIGALRM:
        return "TIMEOUT", output
    return ("FAILED" if process.returncode else "ok"), output


def run_and_say(check, plan, port):
    began = time.monotonic()
    try:
        outcome, output = run(check, plan)
    except OSError as error:
        outcome, output = "FAILED", str(error)
    note = NOTE.search(output)
    port.say("end", name=check["name"], outcome=outcome, seconds=round(time.monotonic() - began, 1),
             note=note[1] if note else "", output="" if outcome == "ok" else output[-MOST_OUTPUT:])


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    port = Port(sys.argv[2])
    log = KernelLog()
    with open("/proc/uptime", encoding="ascii") as file:
        seconds = float(file.read().split()[0])
    port.say("booted", release=os.uname().release, version=os.uname().version, seconds=seconds)
    with concurrent.futures.ThreadPoolExecutor(plan["at_a_time"]) as pool:
        for check in plan["checks"]:
            pool.submit(run_and_say, check, plan, port)
    port.say("over", trouble=log.trouble())
    port.file.close()
    time.sleep(0.5)  # until the port has sent it


if __name__ == "__main__":
    main()
