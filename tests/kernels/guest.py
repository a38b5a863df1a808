# SPDX-License-Identifier: MIT
"""A guest: one kernel under qemu's software emulation, from its start to what it says of the last check."""
import json
import subprocess
import time

import checks
import initrd

PROCESSORS = 2
MEMORY_MIB = 3072
BOOT_SECONDS = 600  # 10 to 25 where little else runs
SLOWDOWN = 10
# The guest's watchdogs would take a busy host for a lockup.
KERNEL_COMMAND_LINE = ("console=ttyS0 panic=1 loglevel=5 log_buf_len=4M mitigations=off tsc=reliable nowatchdog"
                       " rcupdate.rcu_cpu_stall_suppress=1")


class Guest:
    """Runs checks on a kernel. Afterwards `ended` has {name of a check: what the guest said of it}, `release`
    and `seconds_to_boot` tell of the kernel, `trouble` what it had to say, None when nobody came to ask it;
    `fault` is why the guest ended early, or empty."""

    def __init__(self, kernel, root, clone, program, logs):
        self.kernel = kernel
        self.root = root
        self.clone = clone
        self.program = program
        self.console = logs / f"kernel-{kernel.name}.console.log"
        self.events = logs / f"kernel-{kernel.name}.events.log"
        self.log = logs / f"kernel-{kernel.name}.log"
        self.ended = {}
        self.release = ""
        self.debian = ""
        self.seconds_to_boot = None
        self.seconds = 0
        self.trouble = None
        self.fault = ""

    def command(self, archive):
        return ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off",
                "-smp", str(PROCESSORS), "-m", str(MEMORY_MIB), "-kernel", str(self.kernel.folder / "vmlinuz"),
                "-initrd", str(archive), "-append", KERNEL_COMMAND_LINE,
                "-drive", f"file={self.root},format=raw,if=virtio,snapshot=on",
                "-nodefaults", "-display", "none", "-no-reboot", "-nic", "none", "-monitor", "none",
                "-serial", f"file:{self.console}", "-serial", f"file:{self.events}"]

    def run(self, plans, work, tell):
        """Boots, and calls `tell` with each thing that the guest says."""
        plan = {"skep": checks.SKEP, "slowdown": SLOWDOWN, "at_a_time": PROCESSORS, "checks": plans}
        archive = work / "initrd"
        initrd.write(archive, self.kernel, self.clone, self.program, plan)
        for path in (self.console, self.events):
            path.write_bytes(b"")
        began = time.monotonic()
        with open(work / "qemu", "w+", encoding="utf-8") as errors:
            process = subprocess.Popen(self.command(archive), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
            try:
                self.follow(process, max(check["seconds"] for check in plans), tell)
            finally:
                process.kill()
                process.wait()
            errors.seek(0)
            if self.seconds_to_boot is None and (said := errors.read().strip()):
                self.fault = f"{self.fault}: {said.splitlines()[-1]}"
        self.seconds = time.monotonic() - began
        self.write_log()

    def follow(self, process, most_seconds, tell):
        """Reads what the guest says until it is over, or says nothing for too long, or is gone."""
        last, limit = time.monotonic(), BOOT_SECONDS
        with open(self.events, encoding="ascii", errors="replace") as file:
            line = ""
            while self.trouble is None:
                gone = process.poll() is not None
                line += file.readline()
                if line.endswith("\n"):
                    self.heard(line, tell)
                    line, last, limit = "", time.monotonic(), most_seconds + 60
                    continue
                if gone:
                    self.fault = "the guest ended by itself"
                    return
                if time.monotonic() - last > limit:
                    self.fault = f"nothing was heard of the guest for {limit} s"
                    return
                time.sleep(0.2)

    def heard(self, line, tell):
        try:
            said = json.loads(line)
        except ValueError:
            return
        if said["event"] == "booted":
            self.release, self.seconds_to_boot = said["release"], said["seconds"]
        elif said["event"] == "end":
            self.ended[said["name"]] = said
        elif said["event"] == "over":
            self.trouble = said["trouble"]
        tell(said)

    def write_log(self):
        """What the kernel had on its console, then what each check that failed has printed."""
        with open(self.log, "w", encoding="utf-8") as log:
            log.write(self.console.read_text(encoding="utf-8", errors="replace"))
            for said in self.ended.values():
                log.write(f"\n=== {said['name']}: {said['outcome']}, {said['seconds']} s {said['note']}\n"
                          f"{said['output']}")
            log.write(f"\n=== {self.fault or 'the guest came to its end'}\n")
        for path in (self.console, self.events):
            path.unlink()
