"""The notebook's sections, in their order: what messages send a person to. Uses the standard library alone."""

from __future__ import annotations

from enum import Enum

__all__ = ["Section"]


class Section(Enum):
    """Each by its heading in the notebook."""

    CODE = "Get the code and check the GPU"
    DRIVE = "Mount Google Drive"
    INSTALL = "Install"
    PARAMETERS = "Parameters"
    SECRETS = "Secrets"
    DATA = "Get the data"
    DATASET = "Build, check and preview the dataset"
    DRY_RUN = "Dry run"
    TRAIN = "Train"
    VERIFY = "Verify the files"
    COMPARE = "Compare before and after"
    DOWNLOAD = "Zip and download"
    SERVE = "Serve"
    ASK = "Ask it"
    STOP = "Stop the server"

    @property
    def number(self) -> int:
        return [*Section].index(self) + 1

    def __str__(self) -> str:
        return f"第 {self.number} 节"
