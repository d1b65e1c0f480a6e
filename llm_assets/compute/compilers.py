"""The compilers that torch.compile calls."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Literal

Language = Literal["C", "C++"]
# By language, the environment variable that names a compiler, and those that are looked for without it.
_COMPILERS: dict[Language, tuple[str, tuple[str, ...]]] = {
    "C": ("CC", ("cc", "gcc", "clang")),
    "C++": ("CXX", ("clang++" if sys.platform == "darwin" else "g++",)),
}


def find_compiler(language: Language) -> str | None:
    """The path of the compiler, or None. C is needed for kernels of a GPU (Triton), C++ for those of a CPU."""
    variable, usual = _COMPILERS[language]
    names = (os.environ[variable],) if os.environ.get(variable) else usual
    return next((path for name in names if (path := shutil.which(name))), None)
