"""``python -m hengyu`` is the command ``hengyu``."""

from hengyu.cli import main

if __name__ == "__main__":
    main(prog_name="hengyu")
