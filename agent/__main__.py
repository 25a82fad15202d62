"""python -m agent"""

from .start import agent

if __name__ == "__main__":
    agent()
