# SPDX-License-Identifier: MIT
"""The table kernel x check, and the same as a JUnit file."""
import xml.etree.ElementTree as ElementTree

OK = "ok"


class Table:
    """Cells by (check, kernel): an outcome, which is ok or not, and what else is to be said."""

    def __init__(self, rows, columns):
        self.rows = rows
        self.columns = columns
        self.cells = {}

    def put(self, row, column, outcome, more=""):
        self.cells[row, column] = (outcome, more)

    def counts(self):
        passed = sum(outcome == OK for outcome, _ in self.cells.values())
        return passed, len(self.cells) - passed

    def text(self):
        texts = {where: " ".join(cell).strip() for where, cell in self.cells.items()}
        first = max(map(len, self.rows)) + 2
        width = max([12, *map(len, texts.values()), *map(len, self.columns)]) + 2
        lines = [" " * first + "".join(f"{column:<{width}}" for column in self.columns)]
        for row in self.rows:
            lines.append(f"{row:<{first}}" + "".join(f"{texts.get((row, column), ''):<{width}}"
                                                      for column in self.columns))
        return "\n".join(line.rstrip() for line in lines)

    def write_junit(self, path):
        """In the form that scripts/lib/junit_counts.py reads."""
        suite = ElementTree.Element("testsuite", name="kernels", tests=str(len(self.cells)),
                                    failures=str(self.counts()[1]))
        for (row, column), (outcome, more) in self.cells.items():
            case = ElementTree.SubElement(suite, "testcase", name=f"kernels.{column}.{row}", classname="kernels",
                                          status="run" if outcome == OK else "fail")
            if outcome != OK:
                ElementTree.SubElement(case, "failure", message=f"{outcome} {more}".strip())
        path.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(suite).write(path, encoding="unicode")
