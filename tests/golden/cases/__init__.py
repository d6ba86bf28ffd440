"""The cases of make.py: arguments of its `record`, by name, in a module for each family."""

import importlib
import pkgutil

CASES = {}
for module in pkgutil.iter_modules(__path__):
    if module.name not in ("common", "adapters"):
        CASES |= importlib.import_module(f".{module.name}", __name__).CASES
