"""python -m metadata_server.ctl"""

from .start import run

if __name__ == "__main__":
    run()
