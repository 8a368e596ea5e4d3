"""Holds the catalogue to what ran: `cases.py RECORD` fails when a case of cases.md, or one of its answers, is not in RECORD.

A line of RECORD is a case, its answer, and the test that saw it.
"""

import pathlib
import re
import sys

catalogue = pathlib.Path(__file__).with_name("cases.md").read_text(encoding="utf-8")
expected = {
    (int(number), answer.strip("`"))
    for number, answers in re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|", catalogue, re.MULTILINE)
    for answer in answers.strip().split("; ")
}
ran = set()
for line in pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    number, answer, _ = line.split("\t")
    ran.add((int(number), answer))

missing = sorted(expected - ran)
for number, answer in missing:
    print(f"tests/cases.md: case {number} never came out as `{answer}`", file=sys.stderr)
if not missing:
    print(f"cases: {len({number for number, _ in expected})} of tests/cases.md, {len(expected)} answers, all seen")
sys.exit(1 if missing or not expected else 0)
