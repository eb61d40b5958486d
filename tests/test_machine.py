"""What the process may use of the machine."""

import math

import pytest

from sdekit import machine


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, math.inf),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n"}, math.inf),
    ],
)
def test_quotas_of_control_groups(files, quota, tmp_path):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert machine._quota(tmp_path) == quota


@pytest.mark.parametrize(("quota", "count"), [(0.5, 1), (1.5, 2), (math.inf, 64)])
def test_threads_do_not_exceed_the_quota(quota, count, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(machine, "_quota", lambda: quota)
    assert machine.cpus.__wrapped__() == count
