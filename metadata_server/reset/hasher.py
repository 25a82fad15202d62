"""A program that prints the crypt(3) hash of stdin; its arguments are scheme and rounds."""

import sys
import warnings

# passlib 1.7.4 imports crypt, deprecated in 3.11.
warnings.simplefilter("ignore")

from passlib.hash import bcrypt, sha256_crypt, sha512_crypt  # noqa: E402 (after the filter)

HANDLERS = {"sha512": sha512_crypt, "sha256": sha256_crypt, "bcrypt": bcrypt}

if __name__ == "__main__":
    handler = HANDLERS[sys.argv[1]].using(rounds=int(sys.argv[2]))
    sys.stdout.write(handler.hash(sys.stdin.buffer.read()))
