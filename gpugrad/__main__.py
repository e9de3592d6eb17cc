"""``python -m gpugrad``: the same as the command ``gpugrad``."""

from gpugrad.cli import main

if __name__ == "__main__":
    main()
