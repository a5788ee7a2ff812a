"""The walls of the house stand (see helpers/house.py for what they are), and the test of them can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from house import MAX_ENTRIES, WALLS, broken

ROOT = Path(__file__).parents[1] / "electioncode"

SOUND = {
    "__init__.py": "from electioncode import data\ndef __getattr__(name):\n    from electioncode import hooks\n",
    "__main__.py": "import importlib.metadata\n",
    "core/__init__.py": "from electioncode.core.native import cpu\n__all__ = ['cpu']\n",
    "core/native.py": "from electioncode.core import _core\nfrom electioncode.core import _cuda as c\ncpu = _core\n",
    "core/traced.py": "def ops():\n    from electioncode import core\n    core._anything_of_its_own\n",
    "codes/__init__.py": "from electioncode.core import cpu\nself._cuda = 1\n",
    "data.py": "if TYPE_CHECKING:\n    from electioncode.codes import AllocationCode\n",
    "transport/__init__.py": "import numpy\nfrom electioncode.transport.mpi import _CLOSE_SECONDS\n",
    "transport/mpi.py": "_CLOSE_SECONDS = 1\n",
    "robustness/__init__.py": "",
    "robustness/planning/__init__.py": "",
    "hooks/__init__.py": "from electioncode import core, transport\nfrom electioncode.core import traced\ncore.__doc__",
    "lab/__init__.py": "import argparse, electioncode as ec\nfrom electioncode.robustness.planning import plan\n",
}
PLANTED = {
    "one entry too many": ("entries", {f"room{i}.py": "" for i in range(MAX_ENTRIES)}, "electioncode/"),
    "a circle": ("circle", {"codes/a.py": "from . import b", "codes/b.py": "import electioncode.codes.a"}, "codes/a"),
    "a circle with its door": ("circle", {"transport/mpi.py": "from electioncode.transport import x"}, "/mpi.py"),
    "upwards": ("floor", {"votes/x.py": "from electioncode.hooks import y"}, "votes/x.py:1"),
    "sideways": ("floor", {"hooks/x.py": "from electioncode import election"}, "hooks/x.py:1"),
    "from transport": ("floor", {"transport/x.py": "import electioncode.core"}, "transport/x.py:1"),
    "by the roof": ("floor", {"optim/x.py": "import electioncode as ec"}, "optim/x.py:1"),
    "from data": ("floor", {"data.py": "def f():\n  from electioncode.votes import pack"}, "data.py:2"),
    "for typing": ("floor", {"core/x.py": "if TYPE_CHECKING:\n  from electioncode.codes import c"}, "core/x.py:2"),
    "no such floor": ("floor", {"attic/x.py": "from electioncode import core"}, "attic/x.py:1"),
    "through the wall": ("door", {"votes/x.py": "from electioncode.core.native import cpu"}, "votes/x.py:1"),
    "through the wall, relative": ("door", {"votes/x.py": "from ..core.native import cpu"}, "votes/x.py:1"),
    "a private name": ("private", {"votes/x.py": "from electioncode.core import _x"}, "votes/x.py:1"),
    "a private attribute": ("private", {"votes/x.py": "from electioncode import core\ncore.a._x"}, "votes/x.py:2"),
    "native": ("native", {"core/x.py": "from electioncode.core import _cuda"}, "core/x.py:1"),
    "native by string": ("native", {"lab/x.py": "import_module('electioncode.core._core')"}, "lab/x.py:1"),
    "the lab": ("lab", {"__main__.py": "from electioncode.lab import x"}, "__main__.py:1"),
    "argparse": ("lab", {"votes/x.py": "def f():\n  import argparse"}, "votes/x.py:2"),
    "matplotlib": ("lab", {"robustness/x.py": "from matplotlib.figure import Figure"}, "robustness/x.py:1"),
}


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    paths = [p for p in ROOT.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return broken({p.relative_to(ROOT).as_posix(): p.read_text() if p.suffix == ".py" else "" for p in paths})


@pytest.mark.parametrize("wall", WALLS)
def test_the_wall_stands(found, wall):
    assert not found[wall], "\n".join(["", *found[wall]])


def test_a_sound_house_passes():
    assert not {wall: breaks for wall, breaks in broken(SOUND).items() if breaks}


@pytest.mark.parametrize("name", PLANTED)
def test_a_breach_is_found_and_its_file_named(name):
    wall, files, named = PLANTED[name]
    (breach,) = broken(SOUND | files)[wall]
    assert named in breach
