"""The object that the notebook's cells call, a method for each step."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fintunnel_training.colab import dataset, drive, evidence, training
from fintunnel_training.colab.commands import run_fintunnel
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.form import checked
from fintunnel_training.colab.keys import Keys, read_keys
from fintunnel_training.colab.left_behind import end_left_behind, serving_processes
from fintunnel_training.colab.places import find_places
from fintunnel_training.colab.sections import Section
from fintunnel_training.colab.server import NOT_RUNNING, NotebookServer
from fintunnel_training.export.archive import ZIP_NAME

__all__ = ["Launch"]


class Launch:
    """One run of the notebook.

    Every step may be run again, in a new kernel too: what exists with the same parameters is not made again, and what
    was made with others is named and left alone.

    Args:
        values: the form's fields, see `fintunnel_training.colab.form.Form`.

    Raises (each method):
        CellError: one line that says what is wrong and what to do.
    """

    def __init__(self, **values: Any) -> None:
        self._form = checked(values)
        self._places = find_places(self._form.folder, self._form.work)
        self._places.check()
        self._keys: Keys | None = None
        self._database: Path | None = None
        self._server: NotebookServer | None = None
        base = training.base_for(self._form)
        sys.stdout.write(f"基座：{base}\n结果存到：{self._places.folder}\n工作目录：{self._places.work}\n")
        if drive.in_colab() and not drive.is_on_drive(self._places.folder):
            sys.stdout.write("[提示] 结果目录不在 Drive 上：运行时断开，里面的一切就没有了。\n")

    def read_secrets(self) -> None:
        self._keys = read_keys()

    def get_data(self) -> None:
        self._database = dataset.get(self._form, self._places)

    def build_dataset(self) -> None:
        dataset.build(self._form, self._places, self._database)

    def preview(self) -> None:
        run_fintunnel("dataset", "preview", str(self._places.instructions), "-n", "3", advice="请先运行上一格。")

    def dry_run(self) -> None:
        training.dry_run(self._form, self._places, self._need_keys())

    def train(self) -> None:
        self._end_server()  # it holds the memory that training needs
        training.train(self._form, self._places, self._need_keys())

    def verify(self) -> None:
        evidence.show_files(self._places)

    def show_training(self) -> None:
        evidence.show_training(self._places)

    def compare(self) -> None:
        self._end_server()  # the comparison loads the base itself
        evidence.compare(self._form, self._places, self._need_keys())

    def download(self) -> None:
        """Pack the adapter; on Colab hand it to the browser, unless the form says no."""
        evidence.zip_adapter(self._places)
        if self._form.download:
            drive.download(self._places.folder / ZIP_NAME)

    def serve(self) -> None:
        self._end_server()
        self._server = NotebookServer(self._form, self._places, self._need_keys())
        self._server.start()

    def before_and_after(self) -> None:
        self._need_server().ask_before_and_after(self._form.headline)

    def use_it_elsewhere(self) -> None:
        self._need_server().say_how_to_use()

    def stop(self, *, confirm: bool) -> None:
        """Stop the server if `confirm`: "run all" comes by here too, and is to leave it running. On Colab wait until
        Drive has everything, for the runtime may go now."""
        if confirm:
            self._end_server()
            sys.stdout.write("服务已停止。\n")
            drive.finish_writing()
        elif (self._server is not None and self._server.is_running) or serving_processes():
            sys.stdout.write("服务还在运行。用完了就勾选 STOP，再运行这一格，然后断开运行时。\n")
        else:
            sys.stdout.write("没有服务在运行。\n")

    def _need_keys(self) -> Keys:
        if self._keys is None:
            raise CellError(f"还没有读密钥：请先运行{Section.SECRETS}。")
        return self._keys

    def _need_server(self) -> NotebookServer:
        if self._server is None:
            raise CellError(NOT_RUNNING)
        return self._server

    def _end_server(self) -> None:
        if self._server is not None:
            self._server.stop()
        end_left_behind()
