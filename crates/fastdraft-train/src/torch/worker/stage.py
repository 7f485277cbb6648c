"""The hand-over of a stage."""

import json
import os

FORMAT, VERSION = "fastdraft-torch-stage", 1


def read_stage(folder):
    path = os.path.join(folder, "stage.json")
    with open(path, encoding="utf-8") as file:
        stage = json.load(file)
    found = stage.get("format"), stage.get("version")
    if found != (FORMAT, VERSION):
        raise ValueError(f"{path}: {found[0]} version {found[1]}, this worker reads {FORMAT} version {VERSION}")
    return stage
