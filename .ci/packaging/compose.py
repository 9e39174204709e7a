"""Checks that the compose file gives the gateway all it needs from Dify's .env, and that it is put
between nginx and the API. Usage: compose.py DIFYGATE"""

import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

FILE = pathlib.Path("docs/install/compose.yaml")
# What Dify's .env has at least.
DIFYS = {"SECRET_KEY": "sk-any"}


def interpolated(text):
    """${NAME:-default} and ${NAME:?message}, as compose reads them."""

    def value(match):
        name, operator, rest = match.groups()
        if name in DIFYS:
            return DIFYS[name]
        assert operator == ":-", f"{name} has to be in Dify's .env: {rest}"
        return rest

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, text)


def main(difygate):
    services = yaml.safe_load(interpolated(FILE.read_text()))["services"]
    gateway = services["difygate"]
    environment = {name: "" if value is None else str(value) for name, value in gateway["environment"].items()}
    with tempfile.TemporaryDirectory() as folder:
        checked = subprocess.run(
            [difygate, "check"], env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
    assert checked.returncode == 0, checked.stderr
    assert "ports" not in gateway, "nobody but nginx gets to the gateway"
    assert services["nginx"] == {"links": ["difygate:api"]}, "nginx is changed in nothing else"
    grace = int(gateway["stop_grace_period"].removesuffix("s"))
    drain = re.search(r'key\("server.shutdown_grace", "(\d+)s"', pathlib.Path("src/config/keys.rs").read_text())
    assert grace > int(drain.group(1)), f"{grace} s are too short to drain"
    print(f"{FILE}: ok")


if __name__ == "__main__":
    main(sys.argv[1])
