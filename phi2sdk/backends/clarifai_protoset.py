"""Clarifai's messages as a file for grpcurl: ``python -m phi2sdk.backends.clarifai_protoset``.

The service is not known to support gRPC server reflection, so grpcurl needs the file.
"""

from __future__ import annotations

import sys
from typing import Any

from clarifai_grpc.grpc.api import service_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet


def protoset() -> bytes:
    """The service's file and all that it imports, each after what it imports, as protoc writes it.

    The form is a serialized ``google.protobuf.FileDescriptorSet``.
    """
    files = FileDescriptorSet()
    seen: set[str] = set()

    def add(file: Any) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for imported in file.dependencies:
            add(imported)
        file.CopyToProto(files.file.add())

    add(service_pb2.DESCRIPTOR)
    return files.SerializeToString()


if __name__ == "__main__":
    sys.stdout.buffer.write(protoset())
