"""python -m agent.reset_password"""

from ..start import resetd

if __name__ == "__main__":
    resetd()
