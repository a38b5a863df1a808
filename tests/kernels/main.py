# SPDX-License-Identifier: MIT
"""What scripts/test-kernels runs after the build: main.py [--core] [--check WORD]... [--list] [KERNEL...]."""
import argparse
import datetime
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import cache  # noqa: E402
import checks  # noqa: E402
import packages  # noqa: E402
import root  # noqa: E402
from guest import Guest  # noqa: E402
from table import OK, Table  # noqa: E402

CLONE = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = CLONE / "build/release/skep"
LOGS = CLONE / "build/logs"
JUNIT = CLONE / "build/kernels/test-results.xml"
LINES_OF_A_FAILURE = 40
MISSING, NOT_REACHED = "MISSING", "NOT RUN"


def say(text):
    print(text, flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="test-kernels")
    parser.add_argument("--core", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", metavar="WORD", action="append")
    parser.add_argument("kernels", metavar="KERNEL", nargs="*")
    found = parser.parse_args()
    if unknown := [name for name in found.kernels if name not in packages.KERNELS]:
        parser.error(f"no kernel '{unknown[0]}'; there are {', '.join(packages.KERNELS)}")
    found.kernels = found.kernels or list(packages.KERNELS)
    return found


def show_list(plans):
    for name, (suite, *_) in packages.KERNELS.items():
        say(f"{name:<10}{packages.META_PACKAGE} of Debian {suite}")
    say("")
    for plan in plans:
        say(f"{plan['name']:<24}{' '.join(plan['command'][2:])}")


def freed_here():
    """What the corpus of 'same bytes freed' yields on this machine's kernel: what each other has to free."""
    done = subprocess.run([sys.executable, "-B", "tests/kernels/same_bytes_freed.py"], cwd=CLONE, text=True,
                          capture_output=True, check=False,
                          env={**os.environ, "SKEP_BINARY": str(PROGRAM), "SKEP_REQUIRE_FS": "1"})
    found = re.search(r"^RESULT (\d+)$", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        say(f"'{checks.FREED}' on this machine's own kernel failed:\n{done.stdout}{done.stderr}")
        return None
    return found[1]


def boot(kernel, image, plans):
    """Runs the checks on a kernel; shows what failed as it comes."""
    say(f"Linux {kernel.name}: booting Debian's {kernel.version}" + (f"; {kernel.note}" if kernel.note else ""))

    def tell(said):
        if said["event"] == "end" and said["outcome"] != OK:
            say(f"--- {kernel.name}, {said['name']}: {said['outcome']}, {said['seconds']:.0f} s")
            say("\n".join(said["output"].splitlines()[-LINES_OF_A_FAILURE:]))
        elif said["event"] == "over" and said["trouble"]:
            say(f"--- {kernel.name}: the kernel said")
            say("\n".join(said["trouble"][:LINES_OF_A_FAILURE]))

    with tempfile.TemporaryDirectory(prefix="skep-kernels-") as work:
        # What debuggers need is most of the program, and a guest would have it in memory.
        program = pathlib.Path(work, "skep")
        subprocess.run(["strip", "-o", program, PROGRAM], check=True)
        guest = Guest(kernel, image, CLONE, program, LOGS)
        guest.run(plans, pathlib.Path(work), tell)
    if guest.fault:
        say(f"--- {kernel.name}: {guest.fault}; the end of its console:")
        say("\n".join(guest.log.read_text(encoding="utf-8").splitlines()[-LINES_OF_A_FAILURE:]))
    return guest


def fill(table, guest, plans, freed):
    """The column of a kernel that was booted."""
    name = guest.kernel.name
    for plan in plans:
        said = guest.ended.get(plan["name"])
        if not said:
            table.put(plan["name"], name, NOT_REACHED)
            continue
        outcome, more = said["outcome"], f"{said['seconds']:.0f} s"
        if plan["name"] == checks.FREED and outcome == OK:
            more = f"{int(said['note']) / (1 << 20):.2f} MiB"
            if said["note"] != freed:
                say(f"--- {name}: {said['note']} bytes were freed, on this machine's own kernel {freed}")
                outcome = "OTHER"
        table.put(plan["name"], name, outcome, more)
    if guest.trouble is None:
        table.put(checks.KERNEL_LOG, name, NOT_REACHED)
    else:
        table.put(checks.KERNEL_LOG, name, "FAILED" if guest.trouble else OK)


def prepared(names):
    """({name: kernel or why there is none}, the root's image)."""
    with cache.locked():
        image = root.get(PROGRAM)
        kernels = {}
        for name in names:
            try:
                kernels[name] = packages.get(name)
            except packages.Missing as why:
                kernels[name] = str(why)
    return kernels, image


def main():
    options = arguments()
    wanted = [check for check in checks.CHECKS if any(word in check.name for word in options.check or [""])]
    plans = [plan for check in wanted if (plan := check.plan(options.core))]
    if not plans:
        say(f"test-kernels: no check is named so: {', '.join(options.check)}")
        return 2
    if options.list:
        show_list(plans)
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # which ends the guest too
    JUNIT.unlink(missing_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    freed = freed_here() if any(plan["name"] == checks.FREED for plan in plans) else None
    try:
        kernels, image = prepared(options.kernels)
    except (root.CannotMake, packages.Missing) as why:
        say(f"test-kernels: no root for the guests: {why}")
        return 1
    table = Table([plan["name"] for plan in plans] + [checks.KERNEL_LOG], options.kernels)
    versions = []
    for name, kernel in kernels.items():
        if isinstance(kernel, str):
            versions.append(f"{name}: cannot be had: {kernel}")
            for row in table.rows:
                table.put(row, name, MISSING)
            continue
        guest = boot(kernel, image, plans)
        fill(table, guest, plans, freed)
        versions.append(f"{name}: Linux {guest.release or 'that did not boot'}, Debian's {kernel.version}, "
                        + (f"up after {guest.seconds_to_boot:.0f} s, " if guest.seconds_to_boot else "")
                        + f"{guest.seconds:.0f} s in all" + (f"; {kernel.note}" if kernel.note else ""))
    passed, failed = table.counts()
    table.write_junit(JUNIT)
    say(f"\n{table.text()}\n")
    say("\n".join(versions))
    say(f"{datetime.date.today()}; this machine's own kernel: {platform.release()}"
        + (f", which frees {int(freed) / (1 << 20):.2f} MiB" if freed else ""))
    say(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
