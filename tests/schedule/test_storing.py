from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import ScheduleError
from harness.schedule.generate import GENERATORS
from harness.schedule.storing import from_json, to_json


@pytest.mark.parametrize("name", GENERATORS)
def test_a_stored_schedule_comes_back_equal(name: str) -> None:
    schedule = GENERATORS[name](8, 2)
    assert from_json(to_json(schedule)) == schedule
    narrow = replace(schedule, registers=99, complete=False)
    assert from_json(to_json(narrow)) == narrow


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("{", "", "must be JSON"),
        ('"registers"', '"register"', "missing registers, unknown register"),
        ('"general"', '"generic"', "scheme 'generic': use one of general, symmetric, causal"),
        ("S(0,0)", "T(0,0)", "no operation: 'T(0,0)'; write S(1,2), W(1,2), M(1) or -"),
        ("> k1", "> y1", "nothing that is sent: 'y1'; write x1, q1, k1, v1, o1 or s(1,2)"),
        ('"elements": 2', '"elements": 3', "must have one entry for each element"),
        ('"elements": 2', '"elements": "2"', "elements of a stored schedule is not what to_json"),
        ('"owner": [0, 0, 1, 1]', '"owner": 7', "owner of a stored schedule is not"),
        ('"complete": true', '"complete": 1', "complete of a stored schedule is not"),
        ('["S(0,0)', '[7, "S(0,0)', "cycles.0.0 of a stored schedule is not"),
    ],
)
def test_what_to_json_does_not_write_is_refused(old: str, new: str, text: str) -> None:
    stored = to_json(GENERATORS["ring"](4, 2))
    assert old in stored
    with pytest.raises(ScheduleError) as error:
        from_json(stored.replace(old, new, 1))
    assert text in str(error.value)
