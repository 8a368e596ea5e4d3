"""Asks the gRPC server at the given address what it serves, by both versions of reflection; then puts two checks to it in
messages that it has learnt there, without a token and for a public route. Writes what it was told as JSON."""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

channel = grpc.insecure_channel(sys.argv[1])


def services(version):
    # The messages of the two versions are the same on the wire.
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    [answer] = call(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=15)
    return sorted(service.name for service in answer.list_services_response.service)


pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
method = pool.FindServiceByName("envoy.service.auth.v3.Authorization").FindMethodByName("Check")
question = message_factory.GetMessageClass(method.input_type)
answer = message_factory.GetMessageClass(method.output_type)
check = channel.unary_unary(
    f"/{method.containing_service.full_name}/{method.name}",
    request_serializer=question.SerializeToString,
    response_deserializer=answer.FromString,
)


def ask(path):
    asked = question()
    asked.attributes.request.http.method = "GET"
    asked.attributes.request.http.path = path
    return check(asked, timeout=15)


print(json.dumps({
    "v1": services("v1"),
    "v1alpha": services("v1alpha"),
    "denied": ask("/v1/documents/report").denied_response.status.code,
    "allowed": ask("/public/page").status.code,
}))
