"""Results for ParaView: VTK's ImageData as XML, its arrays compressed by zlib in base64.

The form is that of *VTK File Formats*, https://docs.vtk.org/en/latest/vtk_file_formats/vtkxml_file_format.html.
"""

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_dipr.io.record import Record

BLOCK = 1 << 20


def write_vti(record: "Record", path: Path) -> None:
    """Write amplitude, phase, support and fields at the points of a grid; one step is a voxel's side in nm, else 1.

    A 2-D object is one plane. The provenance is the text ``provenance`` of the field data.
    """
    x = record.object
    amplitude = np.abs(x)
    arrays = {
        "amplitude": amplitude,
        "phase": np.where(amplitude > 0, np.angle(x), np.float32(0)),
        "support": record.support.astype(np.uint8),
        **record.fields,
    }
    voxel = record.voxel_size_nm or (1.0,) * x.ndim
    # VTK has x first, in sizes and in memory.
    sizes, steps = (*x.shape[::-1], 1)[:3], (*voxel[::-1], 1.0)[:3]
    extent = " ".join(f"0 {n - 1}" for n in sizes)
    told = " ".join(str(code) for code in (*json.dumps(record.provenance, allow_nan=False).encode("ascii"), 0))
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write(
            '<?xml version="1.0"?>\n<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" '
            'header_type="UInt64" compressor="vtkZLibDataCompressor">\n'
            f'<ImageData WholeExtent="{extent}" Origin="0 0 0" Spacing="{" ".join(map(repr, steps))}">\n'
            f'<FieldData><DataArray type="String" Name="provenance" NumberOfTuples="1" format="ascii">{told}'
            f'</DataArray></FieldData>\n<Piece Extent="{extent}">\n<PointData Scalars="amplitude">\n'
        )
        for name, values in arrays.items():
            kind = "UInt8" if values.dtype == np.uint8 else "Float32"
            label = quoteattr(name).encode("ascii", "xmlcharrefreplace").decode()
            file.write(f'<DataArray type="{kind}" Name={label} format="binary">{_encoded(values)}</DataArray>\n')
        file.write("</PointData>\n</Piece>\n</ImageData>\n</VTKFile>\n")


def _encoded(values: NDArray[np.generic]) -> str:
    """Return the count, the sizes and the compressed blocks of an array, in base64."""
    content = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
    blocks = [zlib.compress(content[start : start + BLOCK]) for start in range(0, len(content), BLOCK)]
    sizes = (len(blocks), BLOCK, len(content) % BLOCK, *map(len, blocks))
    header = struct.pack(f"<{len(sizes)}Q", *sizes)
    return base64.b64encode(header).decode() + base64.b64encode(b"".join(blocks)).decode()
