"""Defines `tf.train.Example` without TensorFlow, whose import takes seconds, for programs that read single records.

The messages are those of tensorflow/core/example/{example,feature}.proto, in a package of another name, so that a
process can have both.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

_PROTO = """
  name: "multihot/example.proto"
  package: "multihot"
  syntax: "proto3"
  message_type {
    name: "BytesList"
    field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES }
  }
  message_type {
    name: "FloatList"
    field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT }
  }
  message_type {
    name: "Int64List"
    field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 }
  }
  message_type {
    name: "Feature"
    oneof_decl { name: "kind" }
    field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: "BytesList" oneof_index: 0 }
    field { name: "float_list" number: 2 type: TYPE_MESSAGE type_name: "FloatList" oneof_index: 0 }
    field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: "Int64List" oneof_index: 0 }
  }
  message_type {
    name: "Features"
    field { name: "feature" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: "FeatureEntry" }
    nested_type {
      name: "FeatureEntry"
      field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
      field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "Feature" }
      options { map_entry: true }
    }
  }
  message_type {
    name: "Example"
    field { name: "features" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "Features" }
  }
"""


def _example() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_PROTO, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("multihot.Example"))


# The class of the message: `Example.FromString(record).features.feature["image"].bytes_list.value`.
Example: Any = _example()
