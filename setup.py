"""What pyproject.toml cannot say: where the packages lie, and the stubs written at build time."""

import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

WRITE_STUBS = "import pathlib, gpugrad.stubs; gpugrad.stubs.write(pathlib.Path('gpugrad'))"


class BuildWithStubs(build_py):
    """Writes the `.pyi` files that are derived from the op records beside their modules."""

    def run(self) -> None:
        super().run()
        # A wheel gets them in its own tree; an editable install copies nothing, so in the source.
        tree = Path(__file__).parent if self.editable_mode else Path(self.build_lib)
        # A process of its own, so that what is imported is the tree just built; -B, because a
        # __pycache__ left behind would be packed too.
        subprocess.run([sys.executable, "-B", "-c", WRITE_STUBS], cwd=tree, check=True)


setup(
    packages=[*find_packages(include=["gpugrad", "gpugrad.*"]), "gpugrad.kernels"],
    package_dir={"gpugrad.kernels": "kernels"},
    cmdclass={"build_py": BuildWithStubs},
)
