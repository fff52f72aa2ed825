"""A protoc plugin that writes the gRPC stubs of Python, for `buf generate` without a network.

grpcio-tools has the generator compiled into its protoc and offers no plugin, so this one speaks the plugin
protocol (a CodeGeneratorRequest on stdin, a CodeGeneratorResponse on stdout) and asks that protoc for the
text. Files without a service get no stub: grpc_tools would write a file that only checks versions.

Rejected: buf's remote plugin (needs the network, and its version is not in our lock).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def respond(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """The stubs of every file to generate that declares a service, in the order of the request."""
    response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
    asked = set(request.file_to_generate)
    names = [file.name for file in request.proto_file if file.name in asked and file.service]
    if not names:
        return response
    with tempfile.TemporaryDirectory() as folder:
        descriptors, out = Path(folder, "descriptors.binpb"), Path(folder, "out")
        out.mkdir()
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        status = protoc.main(
            ["protoc", f"--descriptor_set_in={descriptors}", f"--grpc_python_out={out}", *names]
        )
        if status != 0:
            response.error = f"grpc_tools.protoc ended with status {status}; its message is above"
            return response
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text())
    return response


def main() -> None:
    request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(respond(request).SerializeToString())


if __name__ == "__main__":
    main()
