"""What HDF5 files take from other files: refused where these are missing, or lie outside of the file's folder."""

from pathlib import Path

import h5py

from napari_dipr.errors import FileError

MOST_LINKS = 16


def refuse_links_away(file: h5py.File, key: str, path: Path, links: int = 0) -> None:
    """Refuse a path that leads through another file, unless that one is in the same folder, or below it.

    Links are followed one by one, also those within the other file, so that nothing is opened before it is known.
    """
    parts = [part for part in key.split("/") if part not in ("", ".")]
    if links > MOST_LINKS:
        raise FileError(f"{key!r} in {path.name} leads through more than {MOST_LINKS} links. Name the dataset itself.")
    for count in range(1, len(parts) + 1):
        at, rest = "/".join(parts[:count]), parts[count:]
        try:
            link = file.get(at, getlink=True)
        except (KeyError, OSError, RuntimeError):  # nothing there, which is told by whoever looks for it
            return
        if isinstance(link, h5py.SoftLink):
            start = [] if link.path.startswith("/") else parts[: count - 1]
            refuse_links_away(file, "/".join([*start, link.path, *rest]), path, links + 1)
            return
        if isinstance(link, h5py.ExternalLink):
            refuse_away([link.filename], f"{key!r} in {path.name}", path)
            other = path.resolve().parent / link.filename
            if not h5py.is_hdf5(other):
                raise FileError(f"{key!r} in {path.name} leads to {link.filename}, which is no HDF5 file.")
            with h5py.File(other, "r") as opened:
                refuse_links_away(opened, "/".join([link.path, *rest]), other, links + 1)
            return


def refuse_missing_sources(dataset: h5py.Dataset) -> None:
    """Refuse a dataset whose other files are gone: HDF5 reads it as zeros, without an error."""
    path = Path(dataset.file.filename)  # where links led to, and from where those names are counted
    names = [name for name, *_ in dataset.external or ()]
    if dataset.is_virtual:
        names += [source.file_name for source in dataset.virtual_sources() if source.file_name != "."]
    refuse_away(names, f"{dataset.name} in {path.name}", path)


def refuse_away(names: list[str], what: str, path: Path) -> None:
    """Refuse files that are outside of the folder of ``path``, or missing."""
    folder = path.resolve().parent
    away = [name for name in names if not (folder / name).resolve().is_relative_to(folder)]
    if away:
        raise FileError(f"{what} is made of files outside of its folder (first: {away[0]}). Put them beside it.")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileError(
            f"{what} is made of other files, of which {len(missing)} are missing (first: {missing[0]}). "
            "Put them beside it."
        )
