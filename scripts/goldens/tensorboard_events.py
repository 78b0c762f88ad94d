"""Golden of internal/tensorboard: an event file as TensorBoard's own writer writes it.

Needs tensorboard. Run from the top folder of the project:

    python scripts/goldens/tensorboard_events.py

Writes internal/tensorboard/testdata/events.json: header, events, and the bytes of the file in hexadecimal.
"""
import datetime
import importlib.metadata
import io
import json
import pathlib

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

OUT = pathlib.Path("internal/tensorboard/testdata/events.json")
EVENTS = [
    (1700000000.5, 1, [("train/loss", 2.25)]),
    (1700000001.0, 50, [("train/loss", 1.0 / 3), ("train/lr", 1e-3), ("val/top1", 0.0)]),
    (1700000002.0, 300, [("größe/β", -1.5), ("x" * 200, float("inf"))]),
    (0.0, 0, [("nothing", 0.0)]),
    (1700000003.25, 5_000_000_000, [("train/loss", 1e-30), ("", 4.0)]),
]


class Buffer(io.BytesIO):
    def close(self):
        pass


def main():
    buffer = Buffer()
    writer = RecordWriter(buffer)
    writer.write(Event(wall_time=EVENTS[0][0], file_version="brain.Event:2").SerializeToString())
    for seconds, step, values in EVENTS:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=v) for tag, v in values])
        writer.write(Event(wall_time=seconds, step=step, summary=summary).SerializeToString())
    writer.flush()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("tensorboard", "protobuf")]
    OUT.write_text(json.dumps({
        "header": {"tool": ", ".join(versions), "script": "scripts/goldens/tensorboard_events.py", "seed": "none: fixed events",
                   "date": str(datetime.date.today()), "tolerance": "equal bytes"},
        "events": [{"seconds": s, "step": n, "values": [{"tag": t, "scalar": str(v)} for t, v in values]} for s, n, values in EVENTS],
        "file": buffer.getvalue().hex(),
    }, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
