"""The hand-over of a stage."""

import json
import os

FORMAT, VERSION = "fastdraft-torch-stage", 2


def read_stage(folder):
    return read_document(os.path.join(folder, "stage.json"), FORMAT, VERSION)


def read_document(path, form, version):
    """A JSON file that says what it is, refused when that is something else."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    found = document.get("format"), document.get("version")
    if found != (form, version):
        raise ValueError(f"{path}: {found[0]} version {found[1]}, this worker reads {form} version {version}")
    return document
