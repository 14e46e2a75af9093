"""Common: what would serve another challenge unchanged: errors, flags, files, progress, the ring of processes.

`dir(common)` lists the names. To import this package loads nothing else.
"""

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "common",
    {
        "common.errors": "InputError SharedError",
        "common.command": "run",
        "common.backend": "load_tensorflow",
        "common.files": "make_folder read_json replacing write_json write_text",
        "common.locks": "held",
        "common.flags": "Parser config_text number",
        "common.names": "Entry find list_names read_sum",
        "common.progress": "bar duration",
    },
)
