"""Digest and file of a TorchScript module."""
import hashlib
import io
import os

import torch

FORMAT = 1
MANIFEST = "sat.json"
CHECK = "sat-check.bin"
PRETRAIN = "sat-pretrain.json"  # instead of MANIFEST in a file that pre-trains an encoder

_DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.int64: "int64", torch.int32: "int32",
           torch.uint8: "uint8", torch.bool: "bool"}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def weights_sha256(named):
    """SHA-256 over the tensors in byte order of their names: NAME \\0 DTYPE \\0 D1,D2,... \\0 and the elements, little-endian
    and contiguous."""
    digest = hashlib.sha256()
    for name in sorted(named, key=lambda n: n.encode()):
        t = named[name].detach().cpu().contiguous()
        if t.dtype not in _DTYPES:
            raise ValueError(f"tensor {name} has element type {t.dtype}, which module files do not hold")
        digest.update(f"{name}\0{_DTYPES[t.dtype]}\0{','.join(map(str, t.shape))}\0".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class WriteError(Exception):
    """A module file that could not be written, with the operating system's reason."""

    def __init__(self, path, cause):
        super().__init__(f"write {path}: {cause.strerror}")
        self.errno = cause.errno


class Sink:
    """A file for PyTorch's writer, whose destructor ends the process when a write raises: the first error waits in error."""

    def __init__(self, file):
        self.file, self.error = file, None

    def write(self, content):
        if self.error is None:
            try:
                self.file.write(content)
            except OSError as e:
                self.error = e
        return len(content)


def save(script, path, extra):
    """Writes script with the extra files {name: bytes} to path: whole or not at all, and the same bytes on every machine.
    For the latter the debug records are left out; they hold the paths of the Python sources the code came from."""
    folder, base = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    reader = torch._C.PyTorchFileReader(io.BytesIO(script.save_to_buffer()))
    temporary = os.path.join(folder, f".{base}.tmp")
    try:
        with open(temporary, "wb") as f:  # over what a killed export left
            sink = Sink(f)
            writer = torch._C.PyTorchFileWriter(sink)
            for record in reader.get_all_records():
                if record.endswith(".debug_pkl") or record in ("version", "byteorder") or record.startswith("."):
                    continue  # the writer adds version and its own dot files itself
                content = reader.get_record(record)
                writer.write_record(record, content, len(content))
            for name in sorted(extra):
                writer.write_record(f"extra/{name}", extra[name], len(extra[name]))
            writer.write_end_of_file()
            if sink.error is None:
                f.flush()
                os.fsync(f.fileno())
        if sink.error is not None:
            raise sink.error
        os.replace(temporary, path)
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as e:
        raise WriteError(path, e) from e
    finally:
        try:
            os.remove(temporary)
        except FileNotFoundError:
            pass
